"""What views of a picture show of its faces, and how several sights of one face become one. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import apply, bounds
from pipeline.types import Affine, Face

#: Two boxes that overlap by more than this are one face. Source: facexlib's detect_faces.
SAME_FACE_IOU = 0.4

#: Sizes (network px) that the detector knows; a view that sees a face within them, and tilted by less than 45 degrees,
#: is trusted: its score counts, and it is believed over one that does not see it so.
TRUSTED_PX = (24.0, 420.0)

#: How much less a face counts, in a view that sees it otherwise.
DISTRUST = 0.5

#: The size (network px) at which landmarks are best, and over how many octaves from there a sight counts less by ``e``:
#: 0.85 at half and twice the size, 0.72 at a quarter. So a hair's breadth between two scores, which another precision
#: turns round, does not decide where a face is. Measured with MobileNet-0.25 and the preview pack's detector on 24
#: faces of ../shared/faces/val at 19 sizes: from the consensus of all sizes, landmarks are off by 2.7 and 3.5 % of the
#: eyes' distance at 160 to 200 px, by 3.4 and 5 % at 250 to 400, 4 and 5 % at 90, and 7 % at 40 to 70.
BEST_PX, OCTAVES = 180.0, 6.0

#: Boxes (N, 4), landmarks (N, 5, 2) and scores (N,).
Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """A face as one view shows it."""

    face: Face  #: in source pixels
    rank: float  #: how much this sight of the face is believed over others of the same face
    is_trusted: bool


def of(found: Found, view_to_source: Affine) -> list[Sight]:
    """What was found in a view, whose pixels ``found`` has."""
    return [_sight(*one, view_to_source) for one in zip(*found, strict=True)]


def _sight(
    box: NDArray[np.float32], landmarks: NDArray[np.float32], score: np.float32, view_to_source: Affine
) -> Sight:
    x0, y0, x1, y1 = (float(v) for v in box)
    face = Face(
        box=bounds(view_to_source, (x0, y0, x1, y1)),
        landmarks=apply(view_to_source, landmarks).astype(np.float32),
        score=float(score),
    )
    seen_px = max(x1 - x0, y1 - y0)
    along = landmarks[1] - landmarks[0]
    # A face that lies on its side in this view is seen straighter in another.
    is_trusted = bool(TRUSTED_PX[0] <= seen_px <= TRUSTED_PX[1] and along[0] >= abs(along[1]))
    octaves = abs(math.log2(max(seen_px, 1.0) / BEST_PX))
    fit = math.exp(-octaves / OCTAVES) * (1.0 if is_trusted else DISTRUST)
    return Sight(face=face, rank=face.score * fit, is_trusted=is_trusted)


def grouped(seen: Sequence[Sight]) -> list[list[Sight]]:
    """The sights of each face, the best one first, and the best face first."""
    rest = sorted(seen, key=lambda sight: -sight.rank)
    boxes = np.array([sight.face.box for sight in rest], np.float64).reshape(-1, 4)
    groups: list[list[Sight]] = []
    while rest:
        is_same = _overlaps(boxes[0], boxes) > SAME_FACE_IOU
        is_same[0] = True  # a box without an area too
        groups.append([sight for sight, same in zip(rest, is_same, strict=True) if same])
        rest = [sight for sight, same in zip(rest, is_same, strict=True) if not same]
        boxes = boxes[~is_same]
    return groups


def _overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box (4,) and others (N, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    either = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both
    overlaps: NDArray[np.float64] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return overlaps


def face_of(group: Sequence[Sight]) -> Face:
    """Where its best sight sees it, and as surely as the surest that can be trusted."""
    best = group[0].face
    return dataclasses.replace(best, score=max((s.face.score for s in group if s.is_trusted), default=best.score))
