"""On every development photo all faces that upstream's one pass at full size finds are found, on bounded copies."""

from __future__ import annotations

import pytest
import torch

from pipeline.engines.choice import Engines
from pipeline.precision import Precision
from pipeline.restorer import Restorer
from pipeline.shelf import Shelf
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
    # Reduced precision is for larger pictures than these, and is tried where it is slow as well.
    monkeypatch.setattr("pipeline.detect.FLOAT32_MEGAPIXELS", 3.0 if precision is Precision.FLOAT32 else 0.0)
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
