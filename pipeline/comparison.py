"""Before and after in one picture, side by side and labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.colour import unit
from pipeline.picture import Picture
from pipeline.types import FloatImage

#: Longest side of one half; a comparison is for eyes, not for archives.
MAX_SIDE = 2048
_GAP = 0.01  #: between the halves, as a share of a half's width
_BAR = 0.06  #: height of the label bar, as a share of a half's shorter side
_MIN_BAR = 28  #: px, so that small pictures' labels can be read
_INK, _PAPER = 40, 255  #: 8-bit levels


def half_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) at which a result of this size is shown: its own, bounded by ``MAX_SIDE``."""
    shrink = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def side_by_side(before: FloatImage, after: FloatImage, labels: tuple[str, str] = ("before", "after")) -> FloatImage:
    """Two pictures of one size beside each other under their labels.

    Args:
        before: (H, W, 3).
        after: (H, W, 3); both are clipped to [0, 1].
        labels: what the bar says.
    """
    height, width = after.shape[:2]
    bar = max(_MIN_BAR, round(_BAR * min(height, width)))
    gap = np.full((height + bar, max(2, round(_GAP * width)), 3), 1.0, np.float32)
    left, right = (
        np.concatenate([_label(text, width, bar), np.clip(half, 0, 1)])
        for text, half in zip(labels, (before, after), strict=True)
    )
    return np.concatenate([left, gap, right], axis=1)


def over_white(image: FloatImage, alpha: NDArray[np.float32] | None) -> FloatImage:
    """What a viewer shows of a picture with transparency: (H, W, 3) over white by (H, W, 1) in [0, 1]."""
    return image if alpha is None else (image * alpha + (1 - alpha)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class OverWhite:
    """A picture as a viewer shows it."""

    picture: Picture
    alpha: NDArray[Any]  #: (H, W, 1) uint8 or uint16

    @property
    def width(self) -> int:
        return self.picture.width

    @property
    def height(self) -> int:
        return self.picture.height

    def region(self, rows: slice, columns: slice) -> FloatImage:
        return over_white(self.picture.region(rows, columns), unit(self.alpha[rows, columns]))


def _label(text: str, width: int, height: int) -> FloatImage:
    bar = np.full((height, width, 3), _PAPER, np.uint8)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, height // 24)
    (text_width, text_height), _ = cv2.getTextSize(text, font, 1.0, thickness)
    size = min(0.55 * height / text_height, 0.95 * width / text_width)
    origin = (round((width - text_width * size) / 2), round((height + text_height * size) / 2))
    cv2.putText(bar, text, origin, font, size, (_INK,) * 3, thickness, cv2.LINE_AA)
    return bar.astype(np.float32) / np.float32(255)
