"""The measures: right where the answer is known, and named as not run where they cannot be taken."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch
from numpy.random import default_rng

from pipeline.errors import WeightsCorrupt
from pipeline.evaluation import helpers, measures
from pipeline.evaluation.measures import ALL, Measures
from pipeline.training.textures import drawn


@pytest.fixture(scope="module")
def picture():
    return drawn(default_rng(3), 192)


def test_without_any_weights_each_measure_is_taken_or_named_as_not_run(tmp_path):
    here = Measures(tmp_path)

    assert [m.name for m in here.taken()] == ["psnr", "ssim", "niqe"]
    assert set(here.not_run) == {m.name for m in ALL} - {"psnr", "ssim", "niqe"}
    assert all(helpers.HELPERS[name].file in reason for name, reason in here.not_run.items())


def test_a_missing_package_is_named_with_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(measures.importlib.util, "find_spec", lambda name: None)

    assert "photomend[evaluate]" in Measures(tmp_path, ["fid"]).not_run["fid"]


def test_a_uniform_difference_has_the_psnr_that_it_must_have(tmp_path, picture):
    dimmed = np.clip(picture, 0.1, 1) - np.float32(0.1)

    figures = Measures(tmp_path, ["psnr", "ssim"]).of_pair(dimmed, np.clip(picture, 0.1, 1))

    assert figures["psnr"] == pytest.approx(20, abs=0.01)
    assert figures["ssim"] < 1


def test_blur_and_noise_look_less_natural_to_niqe_and_small_pictures_have_no_figure(tmp_path):
    from skimage.data import astronaut

    photo = astronaut()[:256, 100:356].astype(np.float32) / 255
    niqe = Measures(tmp_path, ["niqe"])
    noisy = np.clip(photo + default_rng(0).normal(0, 0.2, photo.shape), 0, 1).astype(np.float32)
    blurred = cv2.GaussianBlur(photo, (0, 0), 4)

    natural = niqe.of_pair(photo, photo)["niqe"]

    assert natural < niqe.of_pair(noisy, photo)["niqe"]
    assert natural < niqe.of_pair(blurred, photo)["niqe"]
    assert np.isnan(niqe.of_pair(photo[:64, :64], photo[:64, :64])["niqe"])


def test_fid_is_the_squared_distance_of_means_where_sets_differ_by_a_shift():
    features = default_rng(1).standard_normal((60, 16)).astype(np.float32)
    shifted = features + np.float32(0.5)

    assert measures._fid(features, shifted) == pytest.approx(16 * 0.25, rel=1e-3)
    assert measures._fid(features, features) == pytest.approx(0, abs=1e-4)
    assert measures._kid(features, shifted) > measures._kid(features, features)


def test_lpips_takes_torchvision_s_alexnet_and_tells_pictures_apart(tmp_path, picture, monkeypatch):
    path = tmp_path / helpers.HELPERS["lpips"].file
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    torch.manual_seed(0)
    tensors = {f"features.{n}.weight": torch.randn(o, i, k, k) * 0.05 for n, (o, i, k) in shapes.items()}
    tensors |= {f"features.{n}.bias": torch.zeros(o) for n, (o, _, _) in shapes.items()}
    torch.save(tensors | {"classifier.1.weight": torch.zeros(2, 2)}, path)
    known = dict(helpers.HELPERS)
    known["lpips"] = helpers.Helper(
        file=path.name,
        sha256_start=hashlib.sha256(path.read_bytes()).hexdigest(),
        package="lpips",
        distribution="lpips",
    )
    monkeypatch.setattr(helpers, "HELPERS", known)

    lpips = Measures(tmp_path, ["lpips"])

    assert lpips.of_pair(picture, picture)["lpips"] == 0
    assert lpips.of_pair(cv2.GaussianBlur(picture, (0, 0), 3), picture)["lpips"] > 0


def test_a_helper_s_file_with_another_hash_is_refused(tmp_path):
    (tmp_path / helpers.HELPERS["lpips"].file).write_bytes(b"something else")

    with pytest.raises(WeightsCorrupt, match="should start with 7be5be79"):
        Measures(tmp_path, ["lpips"])
