"""From a canvas to the samples that a file will hold and the exact map of what was changed, a band at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import scratch, transparency, vips
from pipeline.colour import ColourSpace, Kind, carry, unit
from pipeline.picture import BAND_ROWS, bands, rows_of
from pipeline.resize import Resampling
from pipeline.source import SourceImage
from pipeline.types import Band, Canvas, FloatImage

#: Values of the mask: which hand changed the pixel. 0 = none.
MASK_UPSAMPLER, MASK_FACE = 128, 255

#: Rows that one thread makes at a time: the more, the less of the source is read twice. Whole bands.
SHEET_ROWS = 4 * BAND_ROWS

#: Threads that make sheets at most: each holds one as floats (37 MB where it is 6,000 px wide).
THREADS = 4

#: Channels of a gray source's result that differ by more than this are colour, not rounding.
_COLOUR = 1 / 512

#: Called with each band's rows in working sRGB, not clipped, and their alpha (rows, W, 1) in [0, 1], from the top down.
OnBand = Callable[[FloatImage, NDArray[np.float32] | None], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered:
    """The samples to be written; both arrays lie on the disk where they are large."""

    samples: vips.Samples  #: (H, W, C) with alpha last, if any
    mask: NDArray[np.uint8]  #: (H, W, 1), where a sample is not what plain resampling of the source gives, and why
    changed_px: int  #: pixels whose mask is not 0
    face_px: int  #: pixels whose mask is MASK_FACE


def render(
    source: SourceImage,
    canvas: Canvas,
    *,
    space: ColourSpace,
    depth: int,
    alpha: bool,
    on_band: OnBand | None = None,
    on_fraction: Callable[[float], None] = lambda _: None,
) -> Rendered:
    """The canvas as samples of ``depth`` bits in ``space``, with the source's alpha or without.

    Where the canvas is the plainly resampled source, so are the samples, never converted; at the source's own size they
    are bit-identical.

    Raises:
        ScratchFull: the samples do not fit onto the disk.
    """
    from pipeline.device import threads  # noqa: PLC0415  (torch, which the start of a worker does not wait for)

    strips = _Strips(source, canvas, space=space, depth=depth, alpha=alpha)
    every = bands(canvas.height, SHEET_ROWS)
    changed_px = face_px = 0
    # Who looks at the bands sees them from the top down.
    with _side_by_side(1 if on_band else min(THREADS, len(every), threads())) as each:
        for done, (changed, faces) in enumerate(each(lambda rows: strips.sheet(rows, on_band), every)):
            changed_px, face_px = changed_px + changed, face_px + faces
            on_fraction((done + 1) / len(every))
    return Rendered(samples=strips.samples, mask=strips.mask, changed_px=changed_px, face_px=face_px)


@contextmanager
def _side_by_side(count: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over so many threads, in order; once it is left, nothing runs any more."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count, thread_name_prefix="render") as pool:
        try:
            yield pool.map
        finally:
            # Of a job that was stopped, the rest is not made.
            pool.shutdown(cancel_futures=True)


class _Strips:
    """Turns bands of working pixels into samples; sheets of rows may be made in any order, and side by side."""

    def __init__(self, source: SourceImage, canvas: Canvas, *, space: ColourSpace, depth: int, alpha: bool) -> None:
        self._source, self._canvas = source, canvas
        self._space, self._depth, self._has_alpha = space, depth, alpha
        self._size = canvas.width, canvas.height
        self._resampling = Resampling((source.width, source.height), self._size)
        shape, channels = (canvas.height, canvas.width), space.kind.bands + int(alpha)
        self.samples = scratch.zeros((*shape, channels), np.uint8 if depth == 8 else np.uint16)
        self.mask: NDArray[np.uint8] = scratch.zeros((*shape, 1), np.uint8)

    def sheet(self, sheet: slice, on_band: OnBand | None) -> tuple[int, int]:
        """Fill these rows, whole bands, of samples and mask; how many pixels were changed, and how many by faces."""
        changed_px = face_px = 0
        colours = self.samples[:, :, : self._space.kind.bands]
        plain = self._plain(sheet, place=colours[sheet])
        if not np.may_share_memory(plain, colours):
            colours[sheet] = plain
        for start in range(sheet.start, sheet.stop, BAND_ROWS):
            rows = slice(start, min(start + BAND_ROWS, sheet.stop))
            alpha = self.alpha(rows) if self._has_alpha else None
            # Float pixels are made of what faces or the background touch, and of nothing else.
            for columns in (slice(0, self._canvas.width),) if on_band else self._canvas.touched(rows):
                band, hands = self._canvas.band(rows, columns), self.mask[rows, columns, 0]
                self.write(band, rows, columns, colours[rows, columns], hands)
                changed_px += cv2.countNonZero(hands)
                face_px += cv2.countNonZero(cv2.compare(hands, MASK_FACE, cv2.CMP_EQ))  # type: ignore[call-overload]
                if on_band is not None:
                    on_band(band.image, alpha)
            if alpha is not None:
                self.samples[rows, :, self._space.kind.bands :] = quantised(alpha, self._depth)
        return changed_px, face_px

    def _plain(self, rows: slice, *, place: vips.Samples) -> vips.Samples:
        """The colour samples (rows, W, C) of the plainly resampled source; in ``place``, if that spares a copy."""
        source = self._source
        if self._keeps_space and source.bit_depth == self._depth:
            return self._resampling.in_kind(lambda needed: source.samples[needed], rows, place=place)
        if self._keeps_space:
            return quantised(self._resampling(lambda needed: unit(source.samples[needed]), rows), self._depth)
        return quantised(self._resampling(lambda needed: rows_of(source.picture, needed), rows), self._depth)

    def write(self, band: Band, rows: slice, columns: slice, samples: vips.Samples, hands: NDArray[np.uint8]) -> None:
        """What was changed: into the colour samples (rows, columns, C), which are ``plain``, and the mask."""
        if band.image is band.plain:
            return
        levels = quantised(self._carried(band, rows, columns), self._depth)
        changed = _differ(band.plain, band.image) & _differ(samples, levels)
        if samples.strides[1] == levels.strides[1]:
            # OpenCV's masked copy; numpy's takes several times as long.
            cv2.copyTo(levels, changed, samples)
        else:  # with alpha between them, which OpenCV cannot step over
            np.copyto(samples, levels, where=changed[:, :, np.newaxis].view(np.bool_))
        # All bits where a face is (MASK_FACE), one elsewhere (MASK_UPSAMPLER), and none where nothing was changed.
        by = np.negative((band.changed > 0).view(np.uint8)) | np.uint8(MASK_UPSAMPLER)
        np.bitwise_and(by, np.negative(changed), out=hands)

    def _carried(self, band: Band, rows: slice, columns: slice) -> NDArray[np.float32]:
        """The changed pixels in the file's space."""
        if not self._keeps_space or (self._space.is_plain and self._space.kind is Kind.RGB):
            return band.image
        before, after = np.clip(band.plain, 0, 1), np.clip(band.image, 0, 1)
        source = self._source.samples
        base = np.clip(self._resampling.region(lambda y, x: unit(source[y, x]), rows, columns), 0, 1)
        carry(base, before, after, self._space)
        return base

    def alpha(self, rows: slice) -> NDArray[np.float32]:
        """(rows, W, 1) in [0, 1]."""
        if self._source.alpha is None:
            raise ValueError("the source has no alpha")
        return transparency.resampled(self._source.alpha, self._size, rows)

    @property
    def _keeps_space(self) -> bool:
        return self._space == self._source.space


def _differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) of 1 where any channel of two (H, W, C) differs, else 0.

    OpenCV takes the channels apart, after which each is compared in a third of the time that numpy's steps take.
    """
    first, *others = cv2.split((a != b).view(np.uint8))
    for other in others:
        first |= other
    return np.asarray(first, np.uint8)


def has_colour(canvas: Canvas) -> bool:
    """Whether anything of it is not gray."""
    return any(
        float(np.ptp(np.clip(canvas.band(rows).image, 0, 1), axis=-1).max()) > _COLOUR for rows in bands(canvas.height)
    )


def quantised(pixels: NDArray[np.float32], depth: int) -> vips.Samples:
    """Values in [0, 1] as 8 or 16 bits."""
    if depth == 8:
        above = cv2.threshold(pixels, 0, 0, cv2.THRESH_TOZERO)[1]
        return np.asarray(cv2.convertScaleAbs(above, alpha=255), np.uint8).reshape(pixels.shape)
    # In place, because this is the largest of what a band needs.
    levels = np.clip(pixels, 0, 1)
    levels *= np.float32(np.iinfo(np.uint16).max)
    return np.rint(levels, out=levels).astype(np.uint16)
