"""A picture read in regions is the picture read at once, whatever its samples are and wherever they lie."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import scratch
from pipeline.colour import ColourSpace, Kind
from pipeline.errors import ScratchFull
from pipeline.picture import Drawn, averaged, of_samples, resized, shrunk, whole
from pipeline.resize import Resampling, resize
from tests.unit.pipeline.test_colour import WIDE

RNG = np.random.default_rng(5)


@pytest.fixture(params=["gray-8", "rgb-16", "wide-16", "cmyk-8"])
def pictured(request):
    kind, depth = request.param.split("-")
    dtype, space = np.uint8 if depth == "8" else np.uint16, ColourSpace(kind=Kind.CMYK)
    if kind != "cmyk":
        space = ColourSpace(kind=Kind(kind)) if kind != "wide" else ColourSpace(kind=Kind.RGB, profile=WIDE)
    samples = RNG.integers(0, np.iinfo(dtype).max, (211, 97, space.kind.bands)).astype(dtype)
    samples.setflags(write=False)
    return of_samples(samples, space)


def test_a_region_is_that_part_of_the_whole(pictured):
    full = whole(pictured)
    assert full.shape == (211, 97, 3)
    assert full.dtype == np.float32
    assert 0 <= full.min() < full.max() <= 1
    for rows, columns in (
        (slice(0, 1), slice(0, 97)),
        (slice(60, 140), slice(11, 12)),
        (slice(210, 211), slice(96, 97)),
    ):
        assert np.array_equal(pictured.region(rows, columns), full[rows, columns])


@pytest.mark.parametrize("size", [(31, 70), (97, 211), (150, 300)])
def test_a_copy_is_the_resized_whole_byte_for_byte(pictured, size):
    expected = whole(pictured) if size == (97, 211) else np.clip(resize(whole(pictured), *size), 0, 1)
    assert np.array_equal(resized(pictured, *size), expected)


@pytest.mark.parametrize("target", [(97, 211), (194, 422), (97, 300), (146, 317), (40, 90)])
@pytest.mark.parametrize("height", [1, 7, 64, 100, 1000])
def test_rows_have_the_same_bytes_whatever_rows_they_are_asked_for_with(target, height):
    image = RNG.random((211, 97, 3), dtype=np.float32)
    resampling, read = Resampling((97, 211), target), []

    def rows_of(rows):
        read.append(rows.stop - rows.start)
        return image[rows]

    bands = [slice(top, min(top + height, target[1])) for top in range(0, target[1], height)]
    assert np.array_equal(np.concatenate([resampling(rows_of, rows) for rows in bands]), resize(image, *target))
    for rows in bands:
        assert resampling.needed(rows).stop <= 211
    if height <= 64 < target[1] and target[1] > 211:
        assert max(read) < 90, "only the rows that are needed are read"


def test_means_over_blocks_are_opencvs_and_the_edge_fills_the_last_one():
    image = RNG.random((211, 97, 3), dtype=np.float32)
    means = averaged(Drawn(image), slice(5, 206), slice(3, 96), 3)
    assert means.shape == (67, 31, 3)
    expected = cv2.resize(image[5:206, 3:96], (31, 67), interpolation=cv2.INTER_AREA)
    assert np.abs(means - expected).max() < 1e-6
    flat = averaged(Drawn(np.full((10, 11, 3), 0.7, np.float32)), slice(0, 10), slice(0, 11), 4)
    assert flat.shape == (3, 3, 3)
    assert np.abs(flat - 0.7).max() < 1e-6


def test_a_shrunk_copy_has_the_means_of_what_its_pixels_cover(pictured):
    expected = cv2.resize(whole(pictured), (40, 85), interpolation=cv2.INTER_AREA)
    small = shrunk(pictured, 40, 85)
    assert small.shape == (85, 40, 3)
    assert np.abs(small - expected).max() < 0.6 / 255  # of 8-bit samples the means are 8-bit samples
    assert np.abs(shrunk(Drawn(whole(pictured)), 40, 85) - expected).max() < 1e-6


def test_a_kernel_without_huge_pages_costs_time_only(monkeypatch):
    monkeypatch.setattr("mmap.MADV_HUGEPAGE", 9999)  # no advice that any kernel knows
    array = scratch.zeros((2 * scratch.OWN_PAGES_BYTES,), np.uint8)
    assert not array.any()


def test_a_large_array_lies_in_a_file_that_is_gone_with_it(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = scratch.zeros((100, 50, 3), np.uint16)
    assert mapped(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    array[:] = 7
    assert array.sum() == 100 * 50 * 3 * 7
    del array
    assert mapped(tmp_path) == 0
    scratch.zeros((10, 10), np.uint8)
    assert mapped(tmp_path) == 0


def test_what_nobody_touches_of_an_array_takes_no_memory():
    def held_mb():
        return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    before = held_mb()
    arrays = [scratch.zeros((6000, 10_000), np.uint8) for _ in range(4)]
    assert held_mb() - before < 60
    arrays[0][5000, 7] = 1
    assert arrays[0].sum(dtype=np.int64) == 1


def mapped(folder):
    return Path("/proc/self/maps").read_text().count(str(folder))


def test_a_full_disk_is_said_before_a_byte_is_written(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ScratchFull, match=f"0.2 GB of scratch do not fit into {tmp_path}: No space left"):
        scratch.zeros((10_000, 10_000), np.uint16)
