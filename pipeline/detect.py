"""Finds faces: RetinaFace on copies of the picture at several bounded sizes, merged.

One size does not do: the network knows faces of 16 to 512 px, so a face that fills a scan is seen only on a small copy
and a face in a group only on a large one; and the full size of a 100-megapixel scan fits no memory.

What it costs and what bounds it, with the ResNet-50 (216 GFLOP a megapixel) on 24 megapixels: copies of 2560, 1280 and
480 px are 5.6 megapixels, 1,210 GFLOP, where the whole scan is 5,200. Measured on one core of Zen 4, in GFLOP/s:
OpenVINO 206 in bfloat16 and 101 in float32, nine tenths of what its best convolution does there, and facexlib's network
by torch 64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import sights
from pipeline.arch import retinaface
from pipeline.arch.networks import Network, Runs
from pipeline.casting import Casting, sample
from pipeline.compat import nms
from pipeline.device import exact
from pipeline.errors import BadNetworkOutput
from pipeline.geometry import CROP_PX, compose, enlarge, turned_back
from pipeline.picture import Drawn, Picture, resized, shrunk, whole
from pipeline.sights import SAME_FACE_IOU, Found, Sight
from pipeline.tensors import to_array, to_bgr_minus
from pipeline.types import Compute, Face, FloatImage, Stage

#: Long sides (px) of the copies. Coarse: a face that fills it is still within the largest anchor. Fine: as large as
#: the picture, but no larger than this: more costs more than it finds (a face below 20 px here has too little detail
#: to restore). Base: small networks see a face of 120 px of the fine copy best here (the preview pack's gives one in
#: group_6_faces.jpg 0.58, and 0.33 without).
COARSE_PX, BASE_PX, FINE_PX = 480, 1280, 2560

#: A picture up to BASE_PX whose smallest face is below this (px) may hold smaller ones: it is looked at enlarged.
SMALL_FACE_PX = 40

#: Pictures below this are not enlarged for a second look; there is nothing in them.
MIN_SIDE_PX = 16

#: Candidates below this are not told of at all; between this and ``min_score`` they are recorded as rejected.
CANDIDATE_SCORE = 0.3

#: How well (dB) the canary's scores and places, by the side of an anchor, must agree in reduced precision: 1 % in the
#: mean of all anchors. Measured in bfloat16: 44 dB (mobile0.25) and 56 dB (preview), which moves the landmarks of real
#: faces by 0.2 % and 0.1 % of the face's side in the median, of 22 px at most by 2 %; another size of the picture moves
#: them by 1 to 3 %. Of whole photos restored so 60 to 75 dB are left, where ``auto`` owes 50.
DETECTION_PSNR = 40.0

#: By how many quarter turns counterclockwise a copy is looked at.
UPRIGHT, EVERY_TURN = (0,), (0, 1, 2, 3)


class FaceDetector:
    """Finds faces with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], Network], device: torch.device, casting: Casting | None = None) -> None:
        self._network = network
        self._device = device
        self._casting = casting or Casting()

    def __call__(
        self,
        overview: FloatImage,
        *,
        width: int,
        height: int,
        compute: Compute,
        rotate: bool = False,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> tuple[Face, ...]:
        """Every candidate in source pixels, best first; overlapping ones merged, nothing else filtered.

        Convention: ``overview`` (H, W, 3) float32 RGB in [0, 1], what ``overview`` makes of a picture of ``width`` x
        ``height`` px. With ``rotate`` each copy is looked at turned by 90, 180 and 270 degrees as well.

        Raises:
            BadNetworkOutput: the network's values are not finite.
        """
        if min(height, width) < MIN_SIDE_PX:
            return ()
        turns = EVERY_TURN if rotate else UPRIGHT
        seen: list[Sight] = []
        sizes = _copy_sizes(max(height, width))
        copy, source = overview, (width, height)
        for done, long_side in enumerate(sizes):
            # From the largest copy to the smallest, each made from the one before.
            copy = _bounded(copy, source, long_side)
            seen += self._look(copy, source, turns, compute)
            on_fraction((done + 1) / (len(sizes) + 1))
        if _may_hold_smaller(seen, max(height, width)):
            enlarged = _bounded(overview, source, min(BASE_PX * 2, 2 * max(height, width)))
            seen += self._look(enlarged, source, turns, compute)
        return tuple(sights.face_of(group) for group in sights.grouped(seen))

    def _look(self, copy: FloatImage, source: tuple[int, int], turns: Sequence[int], compute: Compute) -> list[Sight]:
        height, width = copy.shape[:2]
        copy_to_source = enlarge(source[0] / width, source[1] / height)
        seen: list[Sight] = []
        for turn in turns:
            view = np.ascontiguousarray(np.rot90(copy, turn))
            work = functools.partial(self._look_once, view)
            found = compute(work, stage=Stage.DETECT, megapixels=width * height / 1e6)
            seen += sights.of(found, compose(turned_back(turn, width, height), copy_to_source))
        return seen

    def _look_once(self, view: FloatImage) -> Found:
        network = self._network()
        (outcome,) = self._casting.checked(
            network,
            lambda runs, views: [_values(runs, one, self._device) for one in views],
            [view],
            device=self._device,
            look=functools.partial(look, network, self._device),
            fault_of=lambda values, _: fault_of(values),
            enough_db=DETECTION_PSNR,
        )
        if outcome.fault:
            raise BadNetworkOutput(outcome.fault)
        return _decoded(outcome.value, view, CANDIDATE_SCORE)


def detect_once(network: Runs, image: FloatImage, *, device: torch.device, threshold: float = CANDIDATE_SCORE) -> Found:
    """What one picture at one size shows, in float32, best first, overlaps removed. Device work.

    Convention: ``image`` (H, W, 3) float32 RGB in [0, 1]; results in its pixels; ``network`` a lean RetinaFace.
    Source: facexlib's detect_faces, without its Python loop over anchors; see tests/parity/test_detect_parity.py.

    Raises:
        BadNetworkOutput: the network's values are not finite.
    """
    with exact():
        values = _values(network, image, device)
        if fault := fault_of(values):
            raise BadNetworkOutput(fault)
        return _decoded(values, image, threshold)


def look(network: Network, device: torch.device, runs: Runs) -> NDArray[np.float32]:
    """What a detector makes of the canary's picture: (N, 15) scores from 0 to 1, places by the side of the anchor."""
    del network
    values = to_array(_values(runs, sample(CROP_PX), device))
    centre, size = retinaface.VARIANCES
    values[:, retinaface.BOX] *= (centre, centre, size, size)
    values[:, retinaface.POINTS] *= centre
    values[:, retinaface.SCORE] = 1 / (1 + np.exp(-values[:, retinaface.SCORE]))
    return values


def fault_of(values: torch.Tensor) -> str | None:
    """Why these values cannot be right; None = they can."""
    return None if bool(values.isfinite().all()) else "the face detector gave values that are not finite"


def _values(runs: Runs, image: FloatImage, device: torch.device) -> torch.Tensor:
    """(N, 15) float32 of the anchors of a picture."""
    return runs(to_bgr_minus(image, retinaface.MEAN_BGR, device=device))[0].float()


def _decoded(values: torch.Tensor, image: FloatImage, threshold: float) -> Found:
    with torch.inference_mode():
        probability = values[:, retinaface.SCORE].sigmoid()
        keep = torch.nonzero(probability > threshold)[:, 0]
        anchor = retinaface.anchors(*image.shape[:2]).to(values.device)[keep]
        boxes = retinaface.decode_boxes(values[keep, retinaface.BOX], anchor).cpu()
        landmarks = retinaface.decode_landmarks(values[keep, retinaface.POINTS], anchor).cpu()
        best = probability[keep].cpu()
        order = nms(boxes, best, SAME_FACE_IOU)
        return to_array(boxes[order]), to_array(landmarks[order]), to_array(best[order])


def _copy_sizes(long_side: int) -> list[int]:
    """Long sides of the copies to look at, largest first; a picture is not enlarged here."""
    sizes = [min(long_side, FINE_PX)]
    # Sizes less than a quarter apart see the same faces.
    return sizes + [size for size in (BASE_PX, COARSE_PX) if size * 1.25 < sizes[0]]


def overview(picture: Picture) -> FloatImage:
    """The largest copy that is looked at: the picture itself, or FINE_PX on its long side."""
    long_side = max(picture.width, picture.height)
    if long_side <= FINE_PX:
        return whole(picture)
    return shrunk(picture, *_size_at((picture.width, picture.height), FINE_PX))


def _size_at(source: tuple[int, int], long_side: int) -> tuple[int, int]:
    factor = long_side / max(source)
    return max(1, round(source[0] * factor)), max(1, round(source[1] * factor))


def _bounded(copy: FloatImage, source: tuple[int, int], long_side: int) -> FloatImage:
    """A picture of ``source`` (width, height) px at this long side, from a copy of it."""
    width, height = _size_at(source, long_side)
    make = shrunk if width < copy.shape[1] else resized
    return make(Drawn(copy), width, height)


def _may_hold_smaller(seen: Sequence[Sight], long_side: int) -> bool:
    if long_side > BASE_PX:
        return False  # the fine copy was looked at
    return not seen or min(sight.face.size_px for sight in seen) < SMALL_FACE_PX
