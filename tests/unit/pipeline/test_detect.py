"""What the detector looks at, in which precision, and what it makes of wrong values; real faces are in other tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.arch.networks import Network
from pipeline.arch.retinaface import BOX, POINTS, SCORE, anchors
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


class Points(nn.Module):
    """A face of 32 px where the picture is brightest; in reduced precision, a part of its side away from there."""

    def __init__(self, blind=lambda: False):
        super().__init__()
        self.shown, self.blind = [], blind

    def forward(self, pictures):
        height, width = pictures.shape[2:]
        reduced = torch.is_autocast_enabled("cpu")
        self.shown.append((height, width, reduced))
        values = torch.zeros(1, len(anchors(height, width)), 15)
        values[..., SCORE] = NO_FACE
        at = int(pictures[0].sum(dim=0).argmax())
        y, x = divmod(at, width)
        anchor = 2 * ((y // 8) * math.ceil(width / 8) + x // 8) + 1  # the larger one of stride 8
        values[0, anchor, SCORE] = NO_FACE if self.blind() else 5.0
        centre = anchors(height, width)[anchor, :2]
        side = float(anchors(height, width)[anchor, 2])
        off = (torch.tensor([x, y]) - centre) / side / 0.1 + (0.7 if reduced else 0.0)
        values[0, anchor, POINTS] = off.repeat(5)
        values[0, anchor, BOX] = torch.cat([off, torch.zeros(2)])
        return values


def spotted(module, width, height, spot, precision=Precision.BFLOAT16, **more):
    picture = np.zeros((height, width, 3), np.float32)
    picture[spot[1], spot[0]] = 1
    network = Network(module=module, architecture="retinaface-mobilenet0.25", takes_any_size=True, sizes_vary=True)
    reduced = None if precision is Precision.FLOAT32 else precision
    detector = FaceDetector(lambda: network, CPU, Casting(Canary(Engines(CPU, reduced=reduced))))
    # The canary's look comes first, and is none of the picture's.
    detector(picture[:16, :16], width=16, height=16, compute=compute_here)
    module.shown.clear()
    return detector(picture, width=width, height=height, compute=compute_here, **more)


@pytest.mark.parametrize("spot", [(700, 300), (3, 2), (996, 597)])
@pytest.mark.parametrize("rotate", [False, True])
def test_what_reduced_precision_sees_is_looked_at_again_in_float32_around_the_face(spot, rotate, monkeypatch):
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    module = Points()
    exact = spotted(module, 1000, 600, spot, Precision.FLOAT32, rotate=rotate)
    assert not any(reduced for *_, reduced in module.shown)
    reduced = spotted(module, 1000, 600, spot, rotate=rotate)
    assert [face.landmarks for face in reduced] == [pytest.approx(face.landmarks, abs=1e-3) for face in exact]
    assert [face.box for face in reduced] == [pytest.approx(face.box, abs=1e-3) for face in exact]
    whole = [(height, width) for height, width, is_reduced in module.shown if is_reduced]
    parts = [(height, width) for height, width, is_reduced in module.shown if not is_reduced]
    assert parts
    assert sum(height * width for height, width in parts) < 0.4 * sum(height * width for height, width in whole)


def test_a_face_that_float32_does_not_see_is_none(monkeypatch):
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    module = Points(blind=lambda: not torch.is_autocast_enabled("cpu"))
    assert spotted(module, 1000, 600, (700, 300)) == ()
    assert any(not reduced for *_, reduced in module.shown)


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
