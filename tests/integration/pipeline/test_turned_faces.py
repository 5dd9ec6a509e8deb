"""With ``rotate`` faces on their side or upside down are found, restored the right way up and put back as they lay."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from pipeline.arch import networks
from pipeline.arch.networks import Network
from pipeline.codec import read
from pipeline.detect import FaceDetector, overview
from pipeline.evaluation import detection
from pipeline.geometry import apply, bounds, turned_back
from pipeline.options import RestoreOptions
from pipeline.picture import Drawn, whole
from pipeline.selection import select
from pipeline.training import recipe
from pipeline.types import FaceStatus, compute_here
from pipeline.weights import WeightStore, preview_folder
from tests.unit.pipeline.canvases import OfArrays

pytestmark = pytest.mark.slow

TURNS = {"90": 1, "180": 2, "270": 3}

#: A turned copy has the same pixels and so the same view; landmarks move by rounding alone (px).
SAME_PX = 0.01

#: The mapped landmarks differ by rounding. Measured 4e-6.
SAME_PICTURE = 1e-4


@pytest.fixture(scope="module")
def preview():
    return recipe.read_detector(preview_folder() / recipe.DETECTOR_FILE)


@pytest.fixture(scope="module")
def mobilenet(shared_dir):
    state = WeightStore(shared_dir / "weights").load("retinaface-mobilenet0.25")
    return networks.build("retinaface-mobilenet0.25", state, name="real").module


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip("skimage.data")
    return data.astronaut().astype(np.float32) / np.float32(255)


def found(network, image, *, rotate):
    size = {"width": image.shape[1], "height": image.shape[0]}
    detector = FaceDetector(lambda: Network(module=network, architecture="retinaface"), torch.device("cpu"))
    candidates = detector(overview(Drawn(image)), **size, compute=compute_here, rotate=rotate)
    chosen = select(candidates, RestoreOptions(rotate=rotate), **size)
    return [c.face for c in chosen if c.status is None]


def found_turned(network, image, turns):
    """What is found in the turned picture, in the coordinates of the picture as it was."""
    back = turned_back(turns, image.shape[1], image.shape[0])
    return [
        dataclasses.replace(face, box=bounds(back, face.box), landmarks=apply(back, face.landmarks).astype(np.float32))
        for face in found(network, np.ascontiguousarray(np.rot90(image, turns)), rotate=True)
    ]


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
def test_a_turned_face_is_found_where_it_lies_and_only_with_rotate(preview, astronaut, turns):
    (upright,) = found(preview, astronaut, rotate=False)
    (turned,) = found_turned(preview, astronaut, turns)
    assert np.abs(turned.landmarks - upright.landmarks).max() < SAME_PX
    assert np.abs(np.subtract(turned.box, upright.box)).max() < SAME_PX
    assert found(preview, np.ascontiguousarray(np.rot90(astronaut, turns)), rotate=False) == []


@pytest.mark.shared
@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("photo", ["old_print_h.png", "realesrgan_children-alpha.png"])
@pytest.mark.parametrize("detector", ["preview", "mobilenet"])
def test_turned_photos_show_the_faces_that_they_show_upright(request, shared_dir, detector, photo, turns):
    network = request.getfixturevalue(detector)
    image = whole(read(shared_dir / "photos" / photo).picture)
    upright, turned = found(network, image, rotate=False), found_turned(network, image, turns)
    assert len(turned) == len(upright) > 0
    assert len(detection.matches(upright, turned)) == len(upright)


def test_a_turned_picture_is_restored_to_the_turned_result(tmp_path, astronaut):
    crop = astronaut[20:276, 96:352]
    old = np.clip(cv2.GaussianBlur(crop, (0, 0), 2), 0, 1)
    restorer = OfArrays.load(WeightStore(tmp_path, allow_preview=True), device="cpu")
    options = RestoreOptions(scale=1, background="none", rotate=True)
    upright = restorer(old, options)
    turned = restorer(np.ascontiguousarray(np.rot90(old)), options)
    assert [f.status for f in turned.faces if f.status is not FaceStatus.REJECTED] == [FaceStatus.RESTORED]
    assert upright.changed.max() > 0.9
    assert np.abs(upright.image - old).max() > 0.05
    assert np.abs(np.rot90(turned.image, 3) - upright.image).max() < SAME_PICTURE
    left, right = (np.array(turned.faces[0].landmarks[i]) for i in (0, 1))
    # Turned counterclockwise: the eye on the left is now the lower one.
    assert left[1] > right[1] + 20
