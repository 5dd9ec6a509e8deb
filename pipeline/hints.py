"""Where a larger copy of a picture is worth looking at: at the places where a smaller one shows a trace of a face.

A face that is too small to be called one on a copy of half the size still leaves a faint score there. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: From this score on a trace is clear and always followed; from the smaller one on it is faint, and followed while the
#: windows take no more than a part of the copy. Measured with RetinaFace mobile0.25 and 298 faces of 16 to 64 px (from
#: shared photos at seven sizes, and val faces in scenes with grain and blur): on a copy of half the size 90 % of them
#: leave a clear trace and 99 % a faint one. So does up to a thousandth of all other places, among which one small face
#: may be lost: of 110 lonely ones in textures a seventh was, most below 30 px; of the shared photos' none.
CLEAR_SCORE, FAINT_SCORE = 0.02, 0.005
FAINT_PART = 1 / 6

#: Faces up to this (px of the larger copy) are searched there; larger ones are seen well enough on the smaller.
SMALL_PX = 96

#: Side of a window (px), and of its middle, in which what is seen counts: what lies around is needed to judge it. One
#: shape, so that kernels are prepared once and a GPU takes many at a time; a multiple of the network's largest stride.
WINDOW_PX, CORE_PX = 192, 96

#: Windows that are this part of the copy's pixels together spare little: the whole copy is looked at.
WORTH_IT = 0.6

#: (left, top) of a window.
Corner = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traces:
    """Where a copy shows that there may be a face, the likeliest place first."""

    places: NDArray[np.float32]  #: (N, 2) x, y in px
    scores: NDArray[np.float32]  #: (N,)


def windows(traces: Traces, *, width: int, height: int) -> tuple[Corner, ...] | None:
    """Windows of a copy of ``width`` x ``height`` px, so that each trace lies in the middle of one or at the edge.

    None: they would spare little.
    """
    if min(width, height) <= WINDOW_PX:
        return None if len(traces.places) else ()
    most, most_faint = (math.floor(part * width * height / WINDOW_PX**2) for part in (WORTH_IT, FAINT_PART))
    corners: list[Corner] = []
    places, scores = traces.places, traces.scores
    while len(places):
        is_clear = scores[0] >= CLEAR_SCORE
        if not is_clear and len(corners) >= most_faint:
            break
        if len(corners) >= most:
            return None
        corner = _placed(places[0, 0], width), _placed(places[0, 1], height)
        corners.append(corner)
        left = ~_counts(places, corner, width=width, height=height)
        places, scores = places[left], scores[left]
    return tuple(corners)


def counted(boxes: NDArray[np.float32], corner: Corner, *, width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes (N, 4), in pixels of the copy, that a window shows are small faces of its middle."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    is_small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) <= SMALL_PX
    return np.asarray(is_small & _counts(centres, corner, width=width, height=height))


def _placed(centre: float, length: int) -> int:
    """Where a window around this place begins; within the copy."""
    return min(max(0, round(float(centre)) - WINDOW_PX // 2), length - WINDOW_PX)


def _counts(places: NDArray[np.floating], corner: Corner, *, width: int, height: int) -> NDArray[np.bool_]:
    """Which places lie in the window's middle, which reaches to the copy's edge where the window does."""
    inside = np.ones(len(places), np.bool_)
    for axis, (start, length) in enumerate(zip(corner, (width, height), strict=True)):
        low = -math.inf if start == 0 else start + (WINDOW_PX - CORE_PX) / 2
        high = math.inf if start + WINDOW_PX == length else start + (WINDOW_PX + CORE_PX) / 2
        inside &= (places[:, axis] >= low) & (places[:, axis] < high)
    return inside


def megapixels(corners: Sequence[Corner]) -> float:
    """What a network is given by these windows."""
    return len(corners) * WINDOW_PX**2 / 1e6
