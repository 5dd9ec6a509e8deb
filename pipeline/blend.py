"""Puts restored faces back: only their own region, one resample, no visible box.

``paint`` writes to the rows that it is given, which spares a copy of each; nothing else is ever written to.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.align import averaged_for, warp
from pipeline.geometry import CROP_PX, bounds, compose, enlarge, scale_of, shift
from pipeline.resize import Resampling
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

#: The scales (sigmas, crop px, coarse to fine) at which colour is matched. The finest is half of what a mask's edge is
#: blurred by (SQUARE_SIGMA_PX, parse.EDGE_SIGMA_PX), so that nothing that is seen as an edge is left along it, even
#: where clipped whites and blacks, which show nothing of a cast, meet skin, which shows all of it. The coarsest reaches
#: from the seam to the face's middle: a correction that ended halfway would be a box itself. The middle one lets what
#: is beyond COLOUR_LIMIT fade softly.
COLOUR_SIGMAS_PX = (128.0, 40.0, 8.0)

#: Inside, no more than a tint is taken away: a face that is restored much lighter stays so.
COLOUR_LIMIT = 0.08

#: With this much of the seam around a place (mean of ``4 m (1 - m)``), the finer scale decides there alone. So low that
#: it reaches over the whole of the mask's edge: with 0.1 up to 15 % more was left, with 0.3 up to 30 %.
SEAM_ENOUGH = 0.03

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
    gap: FloatImage | None = None  #: what ``colour_gap`` gives, to be added to ``after``
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


def match_colour(before: FloatImage, after: FloatImage, mask: Mask, *, limit: float = COLOUR_LIMIT) -> FloatImage:
    """``after`` with light and tone brought to ``before``'s, see ``colour_gap``."""
    gap = np.asarray(cv2.resize(colour_gap(before, after, mask, limit=limit), (CROP_PX, CROP_PX)), np.float32)
    gap += after
    return np.clip(gap, 0, 1, out=gap)


def colour_gap(before: FloatImage, after: FloatImage, mask: Mask, *, limit: float = COLOUR_LIMIT) -> FloatImage:
    """What brings ``after``'s light and tone to ``before``'s: all of it along the mask's edge, up to ``limit`` inside.

    The difference of the two, where they will be seen side by side, is spread smoothly over the face; features stay.
    Smooth as it is, it is given at a part of the size, (64, 64, 3).
    """
    side = CROP_PX // COLOUR_AT
    was, became, seam = (
        np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.float32)
        for part in (before, after, 4 * mask * (1 - mask))
    )
    difference = was - became
    coarsest, *finer = (_seen_near(difference, seam, sigma / COLOUR_AT) for sigma in COLOUR_SIGMAS_PX)
    field = np.clip(coarsest[0], -limit, limit)
    for mean, seen in finer:
        field = field + np.minimum(seen / SEAM_ENOUGH, 1) * (mean - field)
    return np.asarray(field, np.float32)


def _seen_near(difference: FloatImage, seam: Mask, sigma: float) -> tuple[FloatImage, FloatImage]:
    """The mean difference along the seam near each place (h, w, 3), and how much seam there is (h, w, 1)."""
    seen = np.asarray(cv2.GaussianBlur(seam, (0, 0), sigma), np.float32)[:, :, np.newaxis]
    total = np.asarray(cv2.GaussianBlur(difference * seam[:, :, np.newaxis], (0, 0), sigma), np.float32)
    # Where there is no seam the mean is zero.
    return np.asarray(total / np.maximum(seen, MASK_FLOOR), np.float32), seen


class Paste:
    """A patch at its place in a picture of ``width`` x ``height`` px, ready to be painted row by row."""

    def __init__(self, patch: Patch, width: int, height: int) -> None:
        region = _region(patch, width, height) if patch.strength else None
        self.rows, self.columns = region or (slice(0, 0), slice(0, 0))
        self._patch = _no_larger_than_seen(patch)
        self._gap_to_output = compose(enlarge(COLOUR_AT, COLOUR_AT), patch.crop_to_output)

    def paint(self, image: FloatImage, changed: Mask, rows: slice, columns: slice) -> None:
        """Blend the face into this region of the picture, and note in ``changed`` how much of it is new.

        Convention: ``image`` (rows, columns, 3) and ``changed`` (rows, columns) float32 at final size, both written
        to; some of the rows are among ``self.rows``, and all ``self.columns`` among the columns.
        """
        top, bottom = max(rows.start, self.rows.start), min(rows.stop, self.rows.stop)
        patch, own = self._patch, self.columns
        to_part = compose(patch.crop_to_output, shift(-own.start, -top))
        size = (own.stop - own.start, bottom - top)
        weight = np.clip(warp(patch.mask, to_part, size), 0, 1) * np.float32(patch.strength)
        weight = np.asarray(cv2.threshold(weight, MASK_FLOOR, 0, cv2.THRESH_TOZERO)[1], np.float32)
        face = warp(patch.after, to_part, size, interpolation=FACE_INTERPOLATION)
        if patch.gap is not None:
            # Here and not once for the whole face, which would be kept as long as the picture.
            face += warp(patch.gap, compose(self._gap_to_output, shift(-own.start, -top)), size)
        plain = warp(patch.before, to_part, size, interpolation=FACE_INTERPOLATION) if _detail_part(patch) else None
        part = slice(top - rows.start, bottom - rows.start), slice(own.start - columns.start, own.stop - columns.start)
        image[part] = _mixed(image[part], face, plain, weight, patch)
        changed[part] = np.maximum(changed[part], weight)


class Replacement:
    """A patch that is the whole picture, without a mask; see ``Paste``."""

    def __init__(self, patch: Patch, width: int, height: int) -> None:
        self.rows = slice(0, height if patch.strength else 0)
        self.columns = slice(0, width)
        self._patch = patch
        self._resampling = Resampling((CROP_PX, CROP_PX), (width, height))

    def paint(self, image: FloatImage, changed: Mask, rows: slice, columns: slice) -> None:
        """As ``Paste`` does it; all columns are its own."""
        del columns
        patch = self._patch
        face = self._resampling(lambda source: patch.after[source], rows)
        plain = self._resampling(lambda source: patch.before[source], rows) if _detail_part(patch) else None
        weight = np.full(changed.shape, patch.strength, np.float32)
        image[:] = _mixed(image, face, plain, weight, patch)
        changed[:] = weight


def _mixed(under: FloatImage, face: FloatImage, plain: FloatImage | None, weight: Mask, patch: Patch) -> FloatImage:
    """The canvas's pixels and the face's by weight; ``plain`` is the unrestored face at the same place.

    ``face`` is written to.
    """
    if plain is not None:
        # What the canvas has and the crop could not hold: detail finer than 512 px.
        face += (under - plain) * np.float32(_detail_part(patch))
    # In place: these are large, and made and thrown away they cost as much as the sums.
    change = np.clip(face, 0, 1, out=face)
    change -= under
    if patch.lightness_only:
        change = (change @ LUMA)[:, :, np.newaxis] * np.ones(3, np.float32)
    change *= cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB)  # numpy's loop over three channels takes twice as long
    change += under
    return change


def _no_larger_than_seen(patch: Patch) -> Patch:
    """The patch averaged, where it will be much smaller, once and not for every row."""
    (before, matrix), (after, _), (mask, _) = (
        averaged_for(picture, patch.crop_to_output) for picture in (patch.before, patch.after, patch.mask)
    )
    return dataclasses.replace(patch, before=before, after=after, mask=mask, crop_to_output=matrix)


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
