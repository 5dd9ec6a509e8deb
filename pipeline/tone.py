"""Black-and-white and toned originals: recognising them, and changing them in lightness only. Pure.

A wrong "toned" costs little (colours stay exactly the source's), a wrong "coloured" paints faces into a sepia print;
the thresholds lean that way.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import FloatImage

#: Weights of R, G and B in lightness. Source: ITU-R BT.601, as JPEG uses it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

#: Side (px) at which the picture is judged: grain, JPEG's colour noise and dust are averaged away.
JUDGED_PX = 96

#: Side (px at the judged size) over which neighbours are averaged once more: grain and JPEG's blocks differ from pixel
#: to pixel, colours do not.
_SMOOTHED_PX = 3

#: How far the chroma of nearly every pixel of a toned picture lies from its curve over lightness at most, in [0, 1].
#: Measured: toned photos up to 0.010; sepia and cyanotypes made of ten colour photos up to 0.025 (heavy grain, JPEG at
#: quality 30). Colour photos from 0.08, 850 faces from 0.05, photos faded to 60 % of their colour from 0.031. What is
#: faded to 40 % may count as toned (0.021 to 0.072): its faces then keep exactly the faded colours that they have.
TONE_TOLERANCE = 0.028

#: "Nearly every": stains, stamps and coloured frames may be the rest.
TONE_PART = 0.98

#: The curve is laid through this part of the pixels, those nearest to it.
_NEAR_PART = 0.9

#: The curve's degree: paper, mid-tones and blacks may differ in tone.
TONE_DEGREE = 3


def is_toned(image: FloatImage) -> bool:
    """Whether the picture is grey or of one tone: its chroma a smooth function of its lightness.

    Convention: ``image`` (H, W, 3) float32 RGB in [0, 1].
    """
    return tone_distance(image) <= TONE_TOLERANCE


def tone_distance(image: FloatImage) -> float:
    """How far the chroma strays from one tone, at the TONE_PART quantile."""
    height, width = image.shape[:2]
    factor = min(1.0, JUDGED_PX / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64)
    luma = small @ LUMA.astype(np.float64)
    strayed = _from_curve(luma.reshape(-1), (small - luma[:, :, np.newaxis]).reshape(-1, 3)).reshape(small.shape)
    smoothed = cv2.blur(strayed, (_SMOOTHED_PX, _SMOOTHED_PX))
    return float(np.quantile(np.abs(smoothed).max(axis=-1), TONE_PART))


def _from_curve(luma: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,), (N, 3) → (N, 3): the chroma less that of the curve which most pixels lie on."""
    basis = np.vander(luma, TONE_DEGREE + 1)
    strayed = chroma
    near = np.ones(len(luma), bool)
    # A second time without the farthest, so that a stain does not bend the curve.
    for _ in range(2):
        curve, *_rest = np.linalg.lstsq(basis[near], chroma[near], rcond=None)
        strayed = chroma - basis @ curve
        distance = np.abs(strayed).max(axis=1)
        near = distance <= np.quantile(distance, _NEAR_PART)
    return strayed


def in_lightness_only(before: FloatImage, after: FloatImage) -> FloatImage:
    """``before`` with ``after``'s lightness: the same amount is added to each channel, so that grey stays grey.

    Convention: (H, W, 3) float32 RGB; the result may leave [0, 1] where ``before`` is coloured and nearly white.
    """
    lightness = np.asarray((after - before) @ LUMA, np.float32)
    return before + lightness[:, :, np.newaxis]
