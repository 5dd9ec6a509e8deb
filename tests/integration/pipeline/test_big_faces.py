"""Faces of 1,500 to 4,000 px in scans of 600 dpi are found once, with their landmarks in place, on bounded copies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pipeline import detect
from pipeline.arch import networks
from pipeline.arch.networks import Network
from pipeline.codec import read
from pipeline.colour import SRGB
from pipeline.detect import FaceDetector, overview
from pipeline.options import RestoreOptions
from pipeline.picture import of_samples
from pipeline.selection import select
from pipeline.training import recipe
from pipeline.types import compute_here
from pipeline.weights import WeightStore, preview_folder

pytestmark = [pytest.mark.shared, pytest.mark.slow]

#: How far a landmark may be from the small picture's, enlarged, as part of the distance of the eyes. Measured 0.03 to
#: 0.07 (mobile0.25), 0.05 (preview): as much as these detectors' landmarks move between copies of 480 and 524 px.
NEAR = 0.09


@pytest.fixture(scope="module", params=["preview-detector", "retinaface-mobilenet0.25"])
def network(request, shared_dir):
    if request.param == "preview-detector":
        return recipe.read_detector(preview_folder() / recipe.DETECTOR_FILE)
    state = WeightStore(shared_dir / "weights").load(request.param)
    return networks.build(request.param, state, name="real").module


def found(network, samples):
    """The faces, and the largest input that the network was given, in px."""
    sides = []

    def watched():
        handle = network.register_forward_pre_hook(lambda _, given: sides.append(max(given[0].shape[2:])))
        handles.append(handle)
        return Network(module=network, architecture="retinaface")

    handles = []
    picture = of_samples(samples, SRGB)
    size = {"width": picture.width, "height": picture.height}
    faces = FaceDetector(watched, torch.device("cpu"))(overview(picture), **size, compute=compute_here)
    for handle in handles:
        handle.remove()
    return [c.face for c in select(faces, RestoreOptions(), **size) if c.status is None], max(sides)


@pytest.mark.parametrize(("photo", "times"), [("old_print_h.png", 8), ("aligned_Adele_crop.png", 10)])
def test_a_face_that_fills_a_scan_is_found_with_its_landmarks(network, shared_dir, photo, times):
    samples = read(shared_dir / "photos" / photo).samples
    samples = np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
    large = cv2.resize(samples, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    (truth,), _ = found(network, samples)
    (face,), longest = found(network, large)
    assert face.size_px > 1500
    assert longest <= detect.FINE_PX
    expected = (truth.landmarks + 0.5) * times - 0.5
    eyes = np.linalg.norm(expected[1] - expected[0])
    apart = np.linalg.norm(face.landmarks - expected, axis=1).max() / eyes
    assert apart < NEAR, (apart, face.size_px)
