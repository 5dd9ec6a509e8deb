"""Cuts aligned faces out of a picture, and warps without aliasing. Pure; never writes to its inputs."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import crops
from pipeline.geometry import CROP_PX, bounds, compose, enlarge, invert, scale_of, shift
from pipeline.picture import Picture, averaged
from pipeline.types import Affine, FloatImage

#: What lies outside the picture in a crop: the grey that GFPGAN was trained with, RGB.
#: Source: facexlib's align_warp_face, (135, 133, 132) in BGR.
OUTSIDE_RGB = (132 / 255, 133 / 255, 135 / 255)

#: Warps that shrink by more than this are preceded by an area average: between full and half size linear
#: interpolation reads every source pixel, below that it would skip some, and fine detail would alias.
SHRINK_LIMIT = 0.5

#: Source pixels beyond the crop's own region that interpolation may read.
MARGIN_PX = 4


def crop(picture: Picture, source_to_crop: Affine) -> FloatImage:
    """The aligned face (512, 512, 3); what the picture does not cover is grey.

    Convention: ``picture`` of any size; ``source_to_crop`` maps pixel centres.
    Source: facexlib's align_warp_face (linear interpolation); see tests/parity/test_paste_parity.py.
    """
    x0, y0, x1, y1 = bounds(invert(source_to_crop), (0, 0, CROP_PX - 1, CROP_PX - 1))
    reach = MARGIN_PX + max(1.0, 1 / scale_of(source_to_crop))
    left, top = max(0, math.floor(x0 - reach)), max(0, math.floor(y0 - reach))
    right = min(picture.width, math.ceil(x1 + reach) + 1)
    bottom = min(picture.height, math.ceil(y1 + reach) + 1)
    if left >= right or top >= bottom:
        return np.full((CROP_PX, CROP_PX, 3), OUTSIDE_RGB, np.float32)
    # Only the face's region: OpenCV refuses pictures above 32,767 px, and shrinking reads no more than needed.
    rows, columns = slice(top, bottom), slice(left, right)
    to_crop = compose(shift(left, top), source_to_crop)
    factor = _averaging(to_crop)
    if factor == 1:
        region = picture.region(rows, columns)
    else:
        # Here and not in ``warp``, because a face may fill a picture that does not fit into memory as floats.
        region, to_crop = averaged(picture, rows, columns, factor), compose(enlarge(factor, factor), to_crop)
    return warp(region, to_crop, (CROP_PX, CROP_PX), outside=OUTSIDE_RGB, into=crops.empty())


def warp(
    image: NDArray[np.float32],
    matrix: Affine,
    size: tuple[int, int],
    *,
    outside: tuple[float, float, float] = (0, 0, 0),
    interpolation: int = cv2.INTER_LINEAR,
    into: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The picture under a similarity, at ``size`` (width, height); averaged first where it shrinks a lot.

    Convention: ``image`` (H, W) or (H, W, C) float32; ``matrix`` maps its pixel centres to the result's; ``into`` is
    what the result is written to, an array of its shape.
    """
    image, matrix = averaged_for(image, matrix)
    warped = cv2.warpAffine(
        image, matrix, size, into, flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
    )
    return np.asarray(warped, np.float32)


def _averaging(matrix: Affine) -> int:
    """The side of the blocks that are averaged before this warp; 1 = none."""
    return math.floor(1 / max(scale_of(matrix), 1e-6)) if scale_of(matrix) < SHRINK_LIMIT else 1


def averaged_for(image: NDArray[np.float32], matrix: Affine) -> tuple[NDArray[np.float32], Affine]:
    """What ``warp`` reads: where it shrinks a lot, the picture's means over blocks, and the matrix from those."""
    factor = _averaging(matrix)
    if factor == 1:
        return image, matrix
    height, width = image.shape[:2]
    across, down = max(1, width // factor), max(1, height // factor)
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), compose(enlarge(width / across, height / down), matrix)
