"""Where a face is: its box and landmarks, turned, moved and compared.

Convention: boxes (x0, y0, x1, y1) and points (x, y) in pixels, pixel centres, origin top left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.faces import FACE_PX
from pipeline.types import Affine

#: Order of the five landmarks after mirroring.
MIRRORED = [1, 0, 2, 4, 3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Label:
    """Where the face is inside its 512 x 512 crop."""

    box: NDArray[np.float32]  #: (4,)
    landmarks: NDArray[np.float32]  #: (5, 2)


def mirrored(label: Label) -> Label:
    """The label of the crop turned left to right."""
    x0, y0, x1, y1 = label.box
    last = FACE_PX - 1
    points = label.landmarks[MIRRORED] * np.array([-1, 1], np.float32) + np.array([last, 0], np.float32)
    return Label(box=np.array([last - x1, y0, last - x0, y1], np.float32), landmarks=points)


def moved(label: Label, placed: Affine) -> Label:
    """The label on the canvas: the box keeps its sides' lengths and follows its centre, since boxes do not turn."""
    centre = (label.box[:2] + label.box[2:]) / 2
    half = (label.box[2:] - label.box[:2]) / 2
    stretch = np.hypot(placed[0, 0], placed[1, 0]), np.hypot(placed[0, 1], placed[1, 1])
    middle = placed[:, :2] @ centre + placed[:, 2]
    box = np.concatenate([middle - half * stretch, middle + half * stretch]).astype(np.float32)
    points = label.landmarks @ placed[:, :2].T + placed[:, 2]
    return Label(box=box, landmarks=points.astype(np.float32))


def visible_share(box: NDArray[np.float32], side: int) -> float:
    """Share of the box that is inside a square picture of this side."""
    inside = np.clip(box, 0, side)
    return float((inside[2] - inside[0]) * (inside[3] - inside[1]) / ((box[2] - box[0]) * (box[3] - box[1])))


def covered_share(new: NDArray[np.float32], old: NDArray[np.float32]) -> float:
    """Share of the smaller box that the other one covers."""
    low, high = np.maximum(new[:2], old[:2]), np.minimum(new[2:], old[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / max(1e-6, min(float(np.prod(new[2:] - new[:2])), float(np.prod(old[2:] - old[:2]))))
