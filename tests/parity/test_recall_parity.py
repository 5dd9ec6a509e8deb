"""On every development photo all faces that upstream's one pass at full size finds are found, on bounded copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.choice import overlap
from pipeline.codec import read
from pipeline.engines.choice import Engines
from pipeline.options import RestoreOptions
from pipeline.precision import Precision
from pipeline.restorer import Restorer
from pipeline.shelf import Shelf
from pipeline.types import FaceStatus
from pipeline.weights import WeightStore
from tests.parity.recall import DETECTOR, facexlibs, found, missed, seen

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(240)]

CPU = torch.device("cpu")

#: Faces that each finds, upstream / ours; photos that are not named: the same number. Ours looks at the small photos
#: enlarged, and is not allowed to find fewer.
MORE = {"group_solvay_1927_gray.jpg": (26, 29)}


@pytest.fixture(scope="module")
def store(shared_dir):
    return WeightStore(shared_dir / "weights")


@pytest.fixture(scope="module")
def theirs(store, shared_dir):
    """By photo, upstream's faces."""
    detector = facexlibs("mobile0.25", store, DETECTOR)
    return {path: seen(path, detector) for path in sorted((shared_dir / "photos").iterdir())}


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_no_face_of_upstream_s_is_missed_on_any_photo(store, theirs, precision, monkeypatch):
    # Reduced precision is tried where it is slow as well.
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    restorer = Restorer(Shelf(store, CPU), Engines(CPU, reduced=None if precision is Precision.FLOAT32 else precision))
    counts = {}
    for path, faces in theirs.items():
        ours, way = found(path, restorer)
        assert way == f"torch-cpu {precision}"
        assert missed(faces, ours) == [], path.name
        counts[path.name] = len(faces), len(ours)
    assert len(counts) >= 19
    assert {name: both for name, both in counts.items() if both[0] != both[1]} == MORE


def test_faces_are_in_reduced_precision_where_they_are_in_float32(store, shared_dir, monkeypatch):
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    both = [Restorer(Shelf(store, CPU), Engines(CPU, reduced=one)) for one in (None, Precision.BFLOAT16)]
    apart = []
    for name in ("whole_00.jpg", "whole_10045.png", "group_solvay_1927_gray.jpg", "old_print_a.png"):
        picture = read((shared_dir / "photos" / name).read_bytes()).picture
        exact, reduced = (restorer.find(picture, RestoreOptions()) for restorer in both)
        assert (exact.model["precision"], reduced.model["precision"]) == ("float32", "bfloat16")
        there = [face for face in reduced.faces if face.status is FaceStatus.FOUND]
        for face in exact.faces:
            if face.status is FaceStatus.FOUND:
                same = there.pop(max(range(len(there)), key=lambda at: overlap(there[at].box, face.box)))
                assert overlap(same.box, face.box) > 0.8
                moved = np.abs(np.array(same.landmarks) - np.array(face.landmarks)).max()
                apart.append(moved / face.size_px)
        assert not there, name
    # Measured: 0.2 and, of 22 px, 2 %; another size of the picture moves them by 1 to 3 %.
    assert len(apart) >= 36
    assert np.median(apart) < 3e-3
    assert max(apart) < 3e-2
