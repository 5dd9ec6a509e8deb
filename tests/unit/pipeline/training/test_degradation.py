"""The degradation model and the samples that are made with it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.random import default_rng

from pipeline.errors import UnreadableImage
from pipeline.training.degrade import MIX, SEVERITIES, Degradation, Severity, degrade, gaussian_kernel, sample
from pipeline.training.faces import Faces, evaluation_pair, to_batch, training_batch
from pipeline.training.losses import psnr


def test_the_same_seed_spoils_a_picture_in_the_same_way(faces):
    how = SEVERITIES[Severity.MEDIUM]

    once, again, other = (degrade(faces[0], how, default_rng(seed)) for seed in (5, 5, 6))

    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_spoiled_picture_keeps_size_type_and_range_and_the_input_is_not_written_to(faces):
    original = faces[0]
    kept = original.copy()

    spoiled = degrade(original, SEVERITIES[Severity.SEVERE], default_rng(0))

    assert spoiled.shape == original.shape
    assert spoiled.dtype == np.float32
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
    assert np.array_equal(original, kept)


def test_each_named_severity_loses_more_than_the_one_before(faces):
    loss = [
        np.mean(
            [
                float(psnr(*(to_batch([p]) for p in evaluation_pair(faces, i, SEVERITIES[severity], seed=1))))
                for i in range(len(faces))
            ]
        )
        for severity in Severity
    ]

    assert all(light > heavy for light, heavy in pairwise(loss))


def test_no_degradation_leaves_the_picture_within_jpeg_rounding(faces):
    smooth = cv2.GaussianBlur(faces[0], (0, 0), 3)

    same = degrade(smooth, Degradation(blur_sigma=0, down=1, noise_sigma=0, jpeg_quality=100), default_rng(0))

    assert np.abs(same - smooth).mean() < 1 / 255


def test_an_anisotropic_kernel_keeps_brightness_and_lies_along_its_angle():
    kernel = gaussian_kernel(6, 2, np.pi / 2)

    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    y, x = np.mgrid[-20:21, -20:21]
    assert (kernel * y**2).sum() > 4 * (kernel * x**2).sum()


def test_the_training_mix_stays_inside_its_bands_and_light_has_the_largest_share():
    drawn = [sample(default_rng(seed)) for seed in range(300)]

    assert MIX[0].share == max(band.share for band in MIX)
    assert sum(band.share for band in MIX) == pytest.approx(1)
    assert {1 <= d.down <= 10 and 0 <= d.noise_sigma <= 20 and 45 <= d.jpeg_quality <= 100 for d in drawn} == {True}


def test_a_batch_depends_on_seed_and_step_alone(faces):
    def batch(seed, step):
        return training_batch(faces, seed=seed, step=step, size=2, crop_px=64)

    assert all(torch.equal(a, b) for a, b in zip(batch(1, 7), batch(1, 7), strict=True))
    assert not torch.equal(batch(1, 7)[1], batch(1, 8)[1])
    assert not torch.equal(batch(1, 7)[1], batch(2, 7)[1])


def test_a_picture_of_another_size_is_refused_by_name(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 20, 3), np.uint8))

    with pytest.raises(UnreadableImage, match="small"):
        Faces(tmp_path)[0]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="no pictures"):
        Faces(tmp_path)
