"""What the detector looks at, in which precision, and what it makes of wrong values; real faces are in other tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.arch.networks import Network
from pipeline.arch.retinaface import SCORE, anchors
from pipeline.casting import Canary, Casting
from pipeline.detect import FaceDetector, overview
from pipeline.engines.choice import Engines
from pipeline.engines.eager import CudaGraphs
from pipeline.engines.port import EngineUnfit
from pipeline.errors import BadNetworkOutput
from pipeline.picture import Drawn
from pipeline.precision import Precision
from pipeline.types import compute_here

CPU = torch.device("cpu")

#: Score of what is sure to be no face.
NO_FACE = -20.0


class Sees(nn.Module):
    """A face by the anchor of this number, if the picture has this size; notes what it is shown."""

    def __init__(self, anchor=None, shape=None, spoilt=lambda: False):
        super().__init__()
        self.anchor, self.shape, self.spoilt = anchor, shape, spoilt
        self.shown = []

    def forward(self, pictures):
        height, width = pictures.shape[2:]
        self.shown.append((height, width))
        values = torch.zeros(1, len(anchors(height, width)), 15)
        values[..., SCORE] = NO_FACE
        if self.anchor is not None and self.shape in {None, (height, width)}:
            values[0, self.anchor, SCORE] = 5.0
        return values.fill_(math.nan) if self.spoilt() else values


def look(module, width, height, casting=None):
    network = Network(module=module, architecture="retinaface-mobilenet0.25", takes_any_size=True, sizes_vary=True)
    detector = FaceDetector(lambda: network, CPU, casting)
    small = overview(Drawn(np.zeros((height, width, 3), np.float32)))
    return detector(small, width=width, height=height, compute=compute_here)


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        (5120, 64, [(32, 2560), (16, 1280), (6, 480)]),
        (64, 1920, [(1920, 64), (1280, 43), (480, 16)]),
        (1300, 64, [(64, 1300), (24, 480)]),
        (610, 32, [(32, 610), (25, 480), (64, 1220)]),
        (480, 32, [(32, 480), (64, 960)]),
        (40, 15, []),
    ],
)
def test_it_looks_at_bounded_copies_and_enlarges_small_pictures_without_faces(width, height, shown):
    module = Sees()
    assert look(module, width, height) == ()
    assert module.shown == shown


def test_a_face_of_a_copy_is_told_in_the_picture_s_pixels():
    # The first anchor of the third row and fourth column at stride 8, of a copy of half the size.
    (face,) = look(Sees(anchor=2 * (2 * 320 + 3), shape=(32, 2560)), 5120, 64)
    assert face.box == pytest.approx((40.5, 24.5, 72.5, 56.5))
    assert face.landmarks == pytest.approx(np.full((5, 2), (56.5, 40.5)))
    assert face.score == pytest.approx(1 / (1 + math.exp(-5)))


def test_values_that_reduced_precision_spoils_are_computed_again(monkeypatch):
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    module, casting = Sees(anchor=7, shape=(64, 64)), Casting(Canary(Engines(CPU, reduced=Precision.BFLOAT16)))
    look(module, 64, 64, casting)
    assert casting.precision is Precision.BFLOAT16
    module.spoilt = lambda: torch.is_autocast_enabled("cpu")
    (face,) = look(module, 64, 64, casting)
    assert casting.repeated == 2  # the picture and, since its face is small, the enlarged one
    assert face.score > 0.9
    module.spoilt = lambda: True
    with pytest.raises(BadNetworkOutput, match="not finite"):
        look(module, 64, 64, casting)


def test_no_graph_is_recorded_of_a_network_to_which_every_picture_is_new():
    network = Network(module=Sees(), architecture="retinaface-resnet50", sizes_vary=True)
    with pytest.raises(EngineUnfit, match="all sizes"):
        CudaGraphs(torch.device("cuda")).load(network, Precision.FLOAT32)
