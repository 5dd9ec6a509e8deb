"""Puts restored faces back: only their own region, one resample, no visible box. Never writes to its inputs but one.

``paste_into`` writes to the canvas that it is given, which spares a copy of a large picture; nothing else is changed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.align import warp
from pipeline.geometry import CROP_PX, bounds, compose, scale_of, shift
from pipeline.resize import resize
from pipeline.tone import LUMA
from pipeline.types import Affine, FloatImage, Mask

#: The feathered square: how far its edge is drawn in, and the blur over it, in crop px.
#: Source: facexlib's square mask erodes by a twentieth of the face's side on either side (w_edge) and blurs over 51 px,
#: for which OpenCV takes a sigma of 0.3 * ((51 - 1) / 2 - 1) + 0.8 = 8; a wider blur shows less of an edge.
SQUARE_INSET_PX = 48
SQUARE_SIGMA_PX = 16.0

#: Faces that cover this many source pixels per crop pixel begin to keep their own fine detail, and keep all of it from
#: the second on: a restored face has 512 px, and what is finer than that would be lost.
DETAIL_FROM, DETAIL_FULL = 1.0, 1.5

#: Colour is matched over this many crop px, so that only light and tone are matched and no features are moved, and by
#: no more than this.
COLOUR_SIGMA_PX = 48.0
COLOUR_LIMIT = 0.08

#: The colour match is computed at this part of the crop's size.
COLOUR_AT = 8

#: How the face is resampled, once, from its crop to the final picture. Upstream's linear interpolation takes the edge
#: off what the network has just sharpened.
FACE_INTERPOLATION = cv2.INTER_CUBIC

#: Mask values below this cannot be seen in 16 bits and are not pasted.
MASK_FLOOR = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A restored face with everything needed to put it back."""

    before: FloatImage  #: (512, 512, 3), the crop as it was cut out
    after: FloatImage  #: (512, 512, 3), restored
    mask: Mask  #: (512, 512) in [0, 1]
    crop_to_output: Affine
    source_px_per_crop_px: float  #: above 1 the source has finer detail than the crop
    strength: float = 1.0  #: 0 = the background's pixels, 1 = the restored ones
    lightness_only: bool = False  #: the canvas keeps its chroma: a grey one stays exactly grey


@functools.lru_cache(maxsize=1)
def feathered_square() -> Mask:
    """The mask (512, 512) where no parsing network is present: one inside, falling softly to zero at the edges."""
    hard = np.zeros((CROP_PX, CROP_PX), np.float32)
    inner = slice(SQUARE_INSET_PX, CROP_PX - SQUARE_INSET_PX)
    hard[inner, inner] = 1
    soft = np.asarray(cv2.GaussianBlur(hard, (0, 0), SQUARE_SIGMA_PX, borderType=cv2.BORDER_CONSTANT), np.float32)
    # Three sigma out a Gaussian is not quite zero: cut it off, so that nothing at the crop's edge is pasted.
    mask: Mask = np.clip((soft - 0.002) / (1 - 0.004), 0, 1).astype(np.float32)
    mask.setflags(write=False)
    return mask


def match_colour(before: FloatImage, after: FloatImage, mask: Mask) -> FloatImage:
    """``after`` with light and tone brought to ``before``'s along the mask's edge, and less and less inside.

    The difference of the two, where they will be seen side by side, is spread smoothly over the face; features stay.
    """
    side = CROP_PX // COLOUR_AT
    difference = cv2.resize(before - after, (side, side), interpolation=cv2.INTER_AREA)
    seam = cv2.resize(4 * mask * (1 - mask), (side, side), interpolation=cv2.INTER_AREA)
    sigma = COLOUR_SIGMA_PX / COLOUR_AT
    weight = np.asarray(cv2.GaussianBlur(seam, (0, 0), sigma), np.float32)
    spread = np.asarray(cv2.GaussianBlur(difference * seam[:, :, np.newaxis], (0, 0), sigma), np.float32)
    # Far from the seam the weight vanishes, and with it the correction.
    field = np.clip(spread / np.maximum(weight, 0.05)[:, :, np.newaxis], -COLOUR_LIMIT, COLOUR_LIMIT)
    correction = np.asarray(cv2.resize(field, (CROP_PX, CROP_PX)), np.float32)
    matched: FloatImage = np.clip(after + correction, 0, 1)
    return matched


def paste_into(canvas: FloatImage, changed: Mask, patch: Patch) -> None:
    """Blend one face into ``canvas`` and note in ``changed`` how much of it is new; only its region is touched.

    Convention: ``canvas`` (H, W, 3) and ``changed`` (H, W) float32 at final size, both written to.
    """
    region = _region(patch, canvas.shape[1], canvas.shape[0])
    if region is None or patch.strength == 0:
        return
    rows, columns = region
    to_region = compose(patch.crop_to_output, shift(-columns.start, -rows.start))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    weight = np.clip(warp(patch.mask, to_region, size), 0, 1) * np.float32(patch.strength)
    weight[weight < MASK_FLOOR] = 0
    face = warp(patch.after, to_region, size, interpolation=FACE_INTERPOLATION)
    plain = warp(patch.before, to_region, size, interpolation=FACE_INTERPOLATION) if _detail_part(patch) else None
    canvas[rows, columns] = _mixed(canvas[rows, columns], face, plain, weight, patch)
    changed[rows, columns] = np.maximum(changed[rows, columns], weight)


def replace_whole(canvas: FloatImage, changed: Mask, patch: Patch) -> None:
    """Blend a face that is the whole picture into ``canvas``, without a mask; see ``paste_into``."""
    if patch.strength == 0:
        return
    size = canvas.shape[1], canvas.shape[0]
    plain = resize(patch.before, *size) if _detail_part(patch) else None
    weight = np.full(canvas.shape[:2], patch.strength, np.float32)
    canvas[:] = _mixed(canvas, resize(patch.after, *size), plain, weight, patch)
    changed[:] = weight


def _mixed(under: FloatImage, face: FloatImage, plain: FloatImage | None, weight: Mask, patch: Patch) -> FloatImage:
    """The canvas's pixels and the face's by weight; ``plain`` is the unrestored face at the same place."""
    if plain is not None:
        # What the canvas has and the crop could not hold: detail finer than 512 px.
        face = face + (under - plain) * np.float32(_detail_part(patch))
    change = np.clip(face, 0, 1) - under
    if patch.lightness_only:
        change = (change @ LUMA)[:, :, np.newaxis]
    mixed: FloatImage = under + change * weight[:, :, np.newaxis]
    return mixed


def paste(canvas: FloatImage, patches: tuple[Patch, ...]) -> tuple[FloatImage, Mask]:
    """A copy of ``canvas`` with the faces blended in, and where (``changed``). See ``paste_into``."""
    result = np.array(canvas, np.float32)
    changed = np.zeros(canvas.shape[:2], np.float32)
    for patch in patches:
        paste_into(result, changed, patch)
    return result, changed


def _region(patch: Patch, width: int, height: int) -> tuple[slice, slice] | None:
    """The output rows and columns that the mask reaches, or None when that is nothing."""
    box = _support(patch.mask)
    if box is None:
        return None
    x0, y0, x1, y1 = bounds(patch.crop_to_output, box)
    # One pixel more: interpolation reaches that far beyond the last pixel that is not zero.
    reach = 1 + math.ceil(scale_of(patch.crop_to_output))
    left, top = max(0, math.floor(x0) - reach), max(0, math.floor(y0) - reach)
    right, bottom = min(width, math.ceil(x1) + reach + 1), min(height, math.ceil(y1) + reach + 1)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def _support(mask: NDArray[np.float32]) -> tuple[float, float, float, float] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def _detail_part(patch: Patch) -> float:
    return min(1.0, max(0.0, (patch.source_px_per_crop_px - DETAIL_FROM) / (DETAIL_FULL - DETAIL_FROM)))
