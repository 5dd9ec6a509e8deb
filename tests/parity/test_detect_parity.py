"""Boxes and landmarks are facexlib's, from the same network on the same picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.arch import networks, retinaface
from pipeline.codec import read
from pipeline.compat import foreign
from pipeline.detect import detect_once
from pipeline.picture import whole
from pipeline.weights import WeightStore
from tests.parity.upstream import randomise_batch_norm

#: Pixels of the source, for boxes and landmarks: float32 in another order. Measured below 1e-3.
PIXEL_TOLERANCE = 5e-3
SCORE_TOLERANCE = 1e-4

#: Of the largest value: batch normalisation is folded into the weights. Measured 2e-6.
RELATIVE = 1e-5

CPU = torch.device("cpu")


@pytest.mark.parametrize(("height", "width"), [(64, 96), (101, 333), (640, 481)])
def test_anchors_are_facexlibs(height, width):
    with foreign():
        from facexlib.detection.retinaface import generate_config
        from facexlib.detection.retinaface_utils import PriorBox

    theirs = PriorBox(generate_config("mobile0.25"), image_size=(height, width)).forward()
    pixels = theirs * torch.tensor([width, height, width, height])
    assert torch.allclose(retinaface.anchors(height, width), pixels, atol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize("photo", ["whole_Blake_Lively.jpg", "facexlib_test.jpg", "realesrgan_children-alpha.png"])
def test_a_real_picture_gives_facexlibs_boxes_and_landmarks(shared_dir, photo):
    state = WeightStore(shared_dir / "weights").load("retinaface-mobilenet0.25")
    ours = networks.build("retinaface-mobilenet0.25", state, name="real").module
    with foreign():
        from facexlib.detection.retinaface import RetinaFace

        theirs = RetinaFace("mobile0.25", device=CPU)
    theirs.load_state_dict(state)
    image = whole(read(shared_dir / "photos" / photo).picture)
    with torch.no_grad():
        expected = theirs.detect_faces(np.ascontiguousarray(image[:, :, ::-1]) * 255, 0.5)
    boxes, landmarks, scores = detect_once(ours, image, device=CPU, threshold=0.5)
    assert len(expected) == len(boxes) > 0
    assert np.abs(boxes - expected[:, :4]).max() < PIXEL_TOLERANCE
    assert np.abs(scores - expected[:, 4]).max() < SCORE_TOLERANCE
    assert np.abs(landmarks.reshape(-1, 10) - expected[:, 5:]).max() < PIXEL_TOLERANCE


def test_resnet50_with_seeded_weights_gives_facexlibs_raw_outputs():
    """No trained resnet50 file can be had here, so the network's values are compared before decoding."""
    with foreign():
        from facexlib.detection.retinaface import RetinaFace

        theirs = RetinaFace("resnet50", device=CPU)
    randomise_batch_norm(theirs)
    published = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    state = {key.removeprefix("module."): value for key, value in published.items()}
    ours = networks.build("retinaface-resnet50", state, name="seeded").module
    picture = torch.rand(1, 3, 96, 128) * 255 - 110
    with torch.no_grad():
        boxes, probabilities, points = theirs(picture)
        values = ours(picture)
        scores = values[..., retinaface.SCORE]
        for mine, expected, tolerance in (
            (values[..., retinaface.BOX], boxes, RELATIVE * boxes.abs().max()),
            # The sigmoid's slope is at most 1/4; seeded networks give up to 1,900 before it.
            (scores.sigmoid(), probabilities[..., 1], RELATIVE * scores.abs().max() / 4),
            (values[..., retinaface.POINTS], points, RELATIVE * points.abs().max()),
        ):
            assert expected.std() > 0
            assert (mine - expected).abs().max() < tolerance


def test_decoding_is_facexlibs():
    with foreign():
        from facexlib.detection.retinaface_utils import decode, decode_landm

    anchors = retinaface.anchors(96, 128)
    loc, points = torch.randn(len(anchors), 4), torch.randn(len(anchors), 10)
    scale = torch.tensor([128.0, 96.0])
    priors = anchors / scale.repeat(2)
    boxes = decode(loc, priors, [0.1, 0.2]) * scale.repeat(2)
    landmarks = decode_landm(points, priors, [0.1, 0.2]) * scale.repeat(5)
    assert torch.allclose(retinaface.decode_boxes(loc, anchors), boxes, atol=PIXEL_TOLERANCE)
    assert torch.allclose(retinaface.decode_landmarks(points, anchors).flatten(1), landmarks, atol=PIXEL_TOLERANCE)
