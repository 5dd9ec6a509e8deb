"""What the detector looks at, in which precision, and what it makes of wrong values; real faces are in other tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline import detect
from pipeline.arch.networks import Network
from pipeline.arch.retinaface import SCORE, anchors
from pipeline.casting import Canary, Casting
from pipeline.detect import FaceDetector, overview
from pipeline.engines.choice import Engines
from pipeline.engines.eager import CudaGraphs
from pipeline.engines.port import EngineUnfit
from pipeline.errors import BadNetworkOutput
from pipeline.hints import WINDOW_PX
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


def look(module, width, height, casting=None, *, picture=None, rotate=False):
    network = Network(module=module, architecture="retinaface-mobilenet0.25", takes_any_size=True, sizes_vary=True)
    detector = FaceDetector(lambda: network, CPU, casting)
    small = overview(Drawn(np.zeros((height, width, 3), np.float32) if picture is None else picture))
    return detector(small, width=width, height=height, rotate=rotate, compute=compute_here)


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        (5120, 64, [(16, 1280), (6, 480)]),
        (64, 1920, [(1280, 43), (480, 16)]),
        (1300, 64, [(64, 1300), (24, 480)]),
        (610, 32, [(32, 610), (25, 480)]),
        (480, 32, [(32, 480)]),
        (40, 15, []),
    ],
)
def test_pictures_without_a_trace_of_a_face_are_looked_at_on_bounded_copies(width, height, shown):
    module = Sees()
    assert look(module, width, height) == ()
    assert module.shown == shown


def test_a_face_of_a_copy_is_told_in_the_picture_s_pixels():
    # The first anchor of the second row and fourth column at stride 8, of a copy of a quarter of the size.
    (face,) = look(Sees(anchor=2 * (160 + 3), shape=(16, 1280)), 5120, 64)
    assert face.box == pytest.approx((81.5, 17.5, 145.5, 81.5))
    assert face.landmarks == pytest.approx(np.full((5, 2), (113.5, 49.5)))
    assert face.score == pytest.approx(1 / (1 + math.exp(-5)))


class SeesSpots(nn.Module):
    """A face of 16 px wherever it is bright: a sure one on windows, a faint one on whole copies."""

    faint = math.log(0.01 / 0.99)

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, pictures):
        self.shown += [tuple(picture.shape[1:]) for picture in pictures]
        height, width = pictures.shape[2:]
        bright = functional.avg_pool2d(pictures.mean(1, keepdim=True), 8, ceil_mode=True)[:, 0] > 0
        values = torch.zeros(len(pictures), len(anchors(height, width)), 15)
        values[..., SCORE] = NO_FACE
        at = 2 * torch.arange(bright[0].numel())
        found = 5.0 if (height, width) == (WINDOW_PX, WINDOW_PX) else self.faint
        values[:, at, SCORE] = torch.where(bright.flatten(1), found, NO_FACE)
        return values


def spotted(width, height, *spots, half_px=16):
    picture = np.zeros((height, width, 3), np.float32)
    for x, y in spots:
        picture[y - half_px : y + half_px, x - half_px : x + half_px] = 1
    return picture


@pytest.mark.parametrize(("long_side", "half_px"), [(2560, 16), (800, 8)])
def test_a_faint_trace_on_a_smaller_copy_is_followed_on_the_larger_one(long_side, half_px):
    module, spots = SeesSpots(), ((400, 320), (32, 32))
    found = look(module, long_side, 640, picture=spotted(long_side, 640, *spots, half_px=half_px))
    # Two windows and not the whole of the largest copy.
    assert [shape for shape in module.shown if shape != (WINDOW_PX, WINDOW_PX)] == module.shown[:2]
    assert len(module.shown) == 4
    assert all(face.score > 0.99 for face in found)
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (face.box for face in found)]
    assert all(any(math.dist(spot, centre) < 24 for centre in centres) for spot in spots)


def test_where_traces_are_all_over_the_larger_copy_is_looked_at_whole():
    module = SeesSpots()
    module.faint = math.log(0.1 / 0.9)
    look(module, 2560, 640, picture=np.ones((640, 2560, 3), np.float32))
    assert module.shown == [(320, 1280), (120, 480), (640, 2560)]


def test_a_turned_copy_follows_its_own_traces():
    module = SeesSpots()
    found = look(module, 2560, 640, picture=spotted(2560, 640, (400, 320)), rotate=True)
    assert module.shown.count((WINDOW_PX, WINDOW_PX)) == 4
    assert all(abs(face.box[0] + face.box[2] - 800) < 60 for face in found if face.score > 0.9)


def test_reduced_precision_is_for_large_pictures(monkeypatch):
    monkeypatch.setattr(detect, "FLOAT32_MEGAPIXELS", 0.01)
    large, small = np.zeros((101, 100, 3), np.float32), np.zeros((100, 100, 3), np.float32)
    chosen = [detect.precision(copy, wish) for copy in (large, small) for wish in ("auto", "exact")]
    assert chosen == ["auto", "exact", "exact", "exact"]


def test_values_that_reduced_precision_spoils_are_computed_again(monkeypatch):
    monkeypatch.setattr("pipeline.engines.choice.gain", lambda *_: 2.0)
    module, casting = Sees(anchor=7, shape=(64, 64)), Casting(Canary(Engines(CPU, reduced=Precision.BFLOAT16)))
    look(module, 64, 64, casting)
    assert casting.precision is Precision.BFLOAT16
    module.spoilt = lambda: torch.is_autocast_enabled("cpu")
    (face,) = look(module, 64, 64, casting)
    assert casting.repeated == 2  # the picture and, since its face is small, the enlarged one as well
    assert face.score > 0.9
    module.spoilt = lambda: True
    with pytest.raises(BadNetworkOutput, match="not finite"):
        look(module, 64, 64, casting)


def test_no_graph_is_recorded_of_a_network_to_which_every_picture_is_new():
    network = Network(module=Sees(), architecture="retinaface-resnet50", sizes_vary=True)
    with pytest.raises(EngineUnfit, match="all sizes"):
        CudaGraphs(torch.device("cuda")).load(network, Precision.FLOAT32)
