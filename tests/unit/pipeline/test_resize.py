"""Whole pictures are resampled with OpenCV's Lanczos kernel, exactly, without aliasing and without chance."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline.resize import resize

#: OpenCV evaluates the kernel in float32 with an angle-sum formula; the difference grows with odd ratios.
OPENCV_TOLERANCE = 5e-5


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((50, 70, 3), (140, 100)),
        ((33, 21, 3), (50, 71)),
        ((5, 3, 3), (9, 9)),
        ((64, 64), (65, 256)),
        ((1, 1, 3), (4, 4)),
        ((37, 41, 3), (82, 74)),
        ((20, 30), (90, 60)),
        ((20, 30, 4), (60, 80)),
        ((9, 9, 3), (72, 9)),
    ],
)
def test_enlarging_agrees_with_opencvs_lanczos(shape, size):
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(resize(image, *size) - expected).max() < OPENCV_TOLERANCE


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_whole_factor_gives_what_matrix_products_give(monkeypatch, factor, dtype):
    """Ties apart, which the two may round differently: one level, on few samples."""
    image = np.random.default_rng(6).integers(0, np.iinfo(dtype).max, (70, 90, 3), dtype, endpoint=True)
    filtered = resize(image, 90 * factor, 70 * factor)
    monkeypatch.setattr("pipeline.resize.MAX_PHASES", 1)
    multiplied = resize(image, 90 * factor, 70 * factor)
    off = np.abs(filtered.astype(int) - multiplied)
    assert off.max() <= 1
    assert (off > 0).mean() < (0.001 if dtype is np.uint8 else 0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_layout_and_type_are_kept(dtype, channels):
    shape = (20, 30) if channels is None else (20, 30, channels)
    image = (np.random.default_rng(2).random(shape) * 200).astype(dtype)
    result = resize(image, 45, 11)
    assert result.dtype == dtype
    assert result.shape == (11, 45, *shape[2:])


def test_the_same_size_gives_a_copy_with_the_same_values():
    image = np.random.default_rng(3).random((7, 9, 3), dtype=np.float32)
    result = resize(image, 9, 7)
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_a_flat_picture_stays_flat_to_the_last_level_of_16_bits():
    image = np.full((40, 50, 3), 54321, np.uint16)
    for size in [(73, 91), (13, 9), (500, 3)]:
        assert np.all(resize(image, *size) == 54321)


def test_integers_are_clipped_where_lanczos_overshoots():
    image = np.zeros((16, 16), np.uint8)
    image[:, 8:] = 255
    result = resize(image, 64, 64)
    assert result.min() == 0
    assert result.max() == 255
    assert resize(image.astype(np.float32), 64, 64).max() > 255


def test_shrinking_does_not_alias():
    """A fine checkerboard is grey from afar; without a widened kernel it becomes a coarse pattern."""
    image = np.indices((300, 300)).sum(axis=0) % 2 * np.float32(1.0)
    small = resize(image.astype(np.float32), 97, 97)
    assert np.abs(small[5:-5, 5:-5] - 0.5).max() < 0.01
    aliased = cv2.resize(image.astype(np.float32), (97, 97), interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(aliased[5:-5, 5:-5] - 0.5).max() > 0.2


def test_a_ramp_keeps_its_place():
    """Pixel centres: value at output x is the ramp at (x + 0.5) / 2 - 0.5, but for Lanczos' own ripple."""
    ramp = np.tile(np.arange(64, dtype=np.float32), (8, 1))
    result = resize(ramp, 128, 8)
    expected = (np.arange(128) + 0.5) / 2 - 0.5
    assert np.abs(result[4, 16:-16] - expected[16:-16]).max() < 0.02


@pytest.mark.parametrize("bad", [(0, 5), (5, 0), (-1, 5)])
def test_an_impossible_size_is_refused(bad):
    with pytest.raises(ValueError, match="cannot resize"):
        resize(np.zeros((4, 4), np.uint8), *bad)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (4, 4, 4, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="a picture is"):
        resize(np.zeros(shape, np.uint8), 3, 3)


_DIGEST = """
import hashlib, numpy as np
from pipeline.resize import resize
image = np.random.default_rng(0).random((400, 611, 3), dtype=np.float32)
print(hashlib.sha256(resize(image, 900, 801).tobytes() + resize(image, 311, 190).tobytes()).hexdigest())
"""


def test_the_number_of_threads_changes_no_bit():
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())
