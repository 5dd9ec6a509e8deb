"""Memory of aligned faces goes from one to the next, and never while somebody sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline import align, crops
from pipeline.geometry import enlarge
from pipeline.picture import Drawn
from pipeline.tensors import from_batch


@pytest.fixture(autouse=True)
def _no_leftovers():
    crops._free.clear()


def place(array):
    return array.__array_interface__["data"][0]


def test_a_face_s_memory_is_the_next_one_s():
    first = crops.empty()
    assert (first.shape, first.dtype, first.flags.c_contiguous, first.flags.writeable) == (
        crops.SHAPE, np.float32, True, True,
    )  # fmt: skip
    where = place(first)
    assert place(crops.empty()) != where, "the first is still seen"
    del first
    assert place(crops.empty()) == where


@pytest.mark.parametrize("seen", [lambda a: a[4:9, ::-1, 1], torch.from_numpy, lambda a: memoryview(a[100])])
def test_it_stays_a_face_s_own_while_any_part_of_it_is_seen(seen):
    face = crops.empty()
    face[:] = 0.5
    part = seen(face)
    del face
    crops.empty()[:] = 0
    assert np.all(np.asarray(part) == 0.5)
    assert len(crops._free) == 1
    del part
    assert len(crops._free) == 2


def test_what_many_faces_at_once_needed_goes_back():
    many = [crops.empty() for _ in range(crops.KEPT + 5)]
    del many
    assert len(crops._free) == crops.KEPT


def test_faces_are_cut_out_and_restored_in_such_memory():
    picture = Drawn(np.full((700, 700, 3), 0.25, np.float32))
    crop = align.crop(picture, enlarge(1, 1))
    [restored] = from_batch(torch.full((1, 3, 512, 512), 0.75), signed=False)
    assert np.all(crop == 0.25)
    assert np.all(restored == 0.75)
    del crop, restored
    assert len(crops._free) == 2, "and not in the allocator's heap"
