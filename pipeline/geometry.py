"""Where an aligned face lies: the template, the fit, and the matrices between source, crop and output. Pure, float64.

Convention: points are (x, y) in pixels, pixel centres at integers, origin at the top-left pixel's centre; matrices are
(2, 3) float64 and named by their direction.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Affine

#: Side of an aligned face.
CROP_PX = 512

#: Where left eye, right eye, nose and the corners of the mouth lie in an aligned face of CROP_PX.
#: Source: FFHQ's mean landmarks as facexlib publishes them (face_restoration_helper.py), which GFPGAN was trained on.
FFHQ_TEMPLATE: NDArray[np.float64] = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)


def fit_similarity(landmarks: NDArray[np.float32]) -> Affine | None:
    """``source_to_crop``: the turn, scale and shift that bring five landmarks onto the template; None = no such fit.

    Least median of squares, so that one landmark that is far off does not tilt the face.
    Source: facexlib's align_warp_face; deterministic, because OpenCV seeds its sampler with a constant.
    """
    if not np.isfinite(landmarks).all():
        return None
    matrix, _ = cv2.estimateAffinePartial2D(landmarks.astype(np.float32), FFHQ_TEMPLATE, method=cv2.LMEDS)
    if matrix is None:
        return None
    source_to_crop = np.asarray(matrix, np.float64)
    return source_to_crop if np.isfinite(source_to_crop).all() and scale_of(source_to_crop) > 0 else None


def scale_of(matrix: Affine) -> float:
    """By how much a similarity enlarges: target pixels per pixel."""
    return math.sqrt(abs(float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])))


def invert(matrix: Affine) -> Affine:
    """The way back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -linear @ matrix[:, 2:]])


def compose(first: Affine, then: Affine) -> Affine:
    """One matrix for ``first`` followed by ``then``."""
    return np.hstack([then[:, :2] @ first[:, :2], then[:, :2] @ first[:, 2:] + then[:, 2:]])


def apply(matrix: Affine, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (N, 2) mapped."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def enlarge(x_factor: float, y_factor: float) -> Affine:
    """The map that resizing a picture makes.

    Pixel centres at integers: pixel 0 covers -0.5 to 0.5, so x goes to ``(x + 0.5) * factor - 0.5``. (facexlib adds
    half an output pixel more when it pastes; see tests/parity/test_paste_parity.py.)
    """
    return np.array([[x_factor, 0.0, 0.5 * x_factor - 0.5], [0.0, y_factor, 0.5 * y_factor - 0.5]])


def turned_back(quarter_turns: int, width: int, height: int) -> Affine:
    """From a picture turned counterclockwise (``numpy.rot90``) to the picture of ``width`` x ``height`` as it was."""
    right, bottom = width - 1.0, height - 1.0
    return np.array(
        {
            0: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            1: [[0.0, -1.0, right], [1.0, 0.0, 0.0]],
            2: [[-1.0, 0.0, right], [0.0, -1.0, bottom]],
            3: [[0.0, 1.0, 0.0], [-1.0, 0.0, bottom]],
        }[quarter_turns]
    )


def shift(x: float, y: float) -> Affine:
    """The map that moves points by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def output_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Width and height of the final picture, halves rounded up."""
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def source_to_output(source: tuple[int, int], output: tuple[int, int]) -> Affine:
    """From source to final pixels for pictures of these (width, height)."""
    return enlarge(output[0] / source[0], output[1] / source[1])


def bounds(matrix: Affine, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The smallest upright box x0, y0, x1, y1 around a mapped box."""
    x0, y0, x1, y1 = box
    corners = apply(matrix, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
