"""Black-and-white and toned originals: recognising them, and changing them in lightness only. Pure.

A wrong "toned" costs little (colours stay exactly the source's), a wrong "coloured" paints faces into a sepia print;
the thresholds lean that way.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.types import FloatImage

#: Weights of R, G and B in lightness. Source: ITU-R BT.601, as JPEG uses it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

#: Side (px) at which the picture is judged: grain, JPEG's colour noise and dust are averaged away.
JUDGED_PX = 96

#: How far the chroma of nearly every pixel of a toned picture lies from its curve over lightness at most, in [0, 1].
#: Measured: grey and toned photos of ../shared/photos up to 0.024, coloured ones and ../shared/faces from 0.09.
TONE_TOLERANCE = 0.045

#: "Nearly every": stains, stamps and coloured frames may be the rest.
TONE_PART = 0.98

#: The curve's degree: paper, mid-tones and blacks may differ in tone.
TONE_DEGREE = 2


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
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64).reshape(-1, 3)
    luma = small @ LUMA.astype(np.float64)
    chroma = small - luma[:, np.newaxis]
    basis = np.vander(luma, TONE_DEGREE + 1)
    curve, *_ = np.linalg.lstsq(basis, chroma, rcond=None)
    return float(np.quantile(np.abs(chroma - basis @ curve).max(axis=1), TONE_PART))


def in_lightness_only(before: FloatImage, after: FloatImage) -> FloatImage:
    """``before`` with ``after``'s lightness: the same amount is added to each channel, so that grey stays grey.

    Convention: (H, W, 3) float32 RGB; the result may leave [0, 1] where ``before`` is coloured and nearly white.
    """
    lightness = np.asarray((after - before) @ LUMA, np.float32)
    return before + lightness[:, :, np.newaxis]
