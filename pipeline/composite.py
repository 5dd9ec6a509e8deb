"""The restored picture, put together where it is looked at: the source resampled, the background, the faces on top.

A 100-megapixel scan at twice its size is 5 GB of float pixels. So none of them is made before its row is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from pipeline.picture import BAND_ROWS, Picture, bands
from pipeline.resize import Resampling
from pipeline.types import Band, FloatImage, Mask

#: From rows of the final picture, and the source's pixels there, to the background's pixels there.
Background = Callable[[slice, FloatImage], FloatImage]


class Paints(Protocol):
    """A face with its place."""

    @property
    def rows(self) -> slice: ...  #: of the final picture, that it touches; may be none

    @property
    def columns(self) -> slice: ...  #: likewise

    def paint(self, image: FloatImage, changed: Mask, rows: slice, columns: slice) -> None:
        """Blend it into this region of the final picture; both arrays hold the region only, and are written to.

        All of the face's columns lie within.
        """
        ...


def plain(rows: slice, source: FloatImage) -> FloatImage:
    """The background that is the source."""
    return source


class Composite:
    """A ``Canvas`` over a picture; immutable.

    Args:
        picture: the source.
        size: (width, height) of the result, px.
        background: what lies under the faces.
        faces: painted in this order.
    """

    def __init__(
        self,
        picture: Picture,
        size: tuple[int, int],
        *,
        background: Background = plain,
        faces: Sequence[Paints] = (),
    ) -> None:
        self.width, self.height = size
        self._picture = picture
        self._background = background
        self._faces = tuple(faces)
        self._resampling = Resampling((picture.width, picture.height), size)

    def band(self, rows: slice, columns: slice | None = None) -> Band:
        if not 0 <= rows.start < rows.stop <= self.height:
            raise ValueError(f"rows {rows.start} to {rows.stop} of {self.height} cannot be painted")
        wanted = columns or slice(0, self.width)
        # Always on the same grid, because a warp that begins elsewhere may round differently.
        first, last = rows.start // BAND_ROWS, -(-rows.stop // BAND_ROWS)
        painted = [self._painted(on_grid, wanted) for on_grid in bands(self.height)[first:last]]
        if len(painted) == 1 and len(painted[0].changed) == rows.stop - rows.start:
            return painted[0]
        part = slice(rows.start - first * BAND_ROWS, rows.stop - first * BAND_ROWS)
        plain, image, changed = (
            np.concatenate([getattr(band, name) for band in painted])[part] for name in ("plain", "image", "changed")
        )
        return Band(plain=plain, image=image, changed=changed)

    def touched(self, rows: slice) -> tuple[slice, ...]:
        if self._background is not plain:
            return (slice(0, self.width),)
        merged: list[slice] = []
        for columns in sorted((face.columns for face in self._in(rows)), key=lambda columns: columns.start):
            if merged and columns.start <= merged[-1].stop:
                merged[-1] = slice(merged[-1].start, max(merged[-1].stop, columns.stop))
            else:
                merged.append(columns)
        return tuple(merged)

    def _painted(self, rows: slice, columns: slice) -> Band:
        plain = self._resampling.region(self._picture.region, rows, columns)
        image, changed = self._under(rows, columns, plain), np.zeros(plain.shape[:2], np.float32)
        faces = [face for face in self._in(rows) if _within(face.columns, columns)]
        if faces:
            image = image.copy()
        for face in faces:
            face.paint(image, changed, rows, columns)
        return Band(plain=plain, image=image, changed=changed)

    def _under(self, rows: slice, columns: slice, source: FloatImage) -> FloatImage:
        if self._background is plain:
            return source
        if columns.stop - columns.start < self.width:
            source = self._resampling.region(self._picture.region, rows, slice(0, self.width))
        return self._background(rows, source)[:, columns]

    def _in(self, rows: slice) -> list[Paints]:
        return [face for face in self._faces if face.rows.start < rows.stop and face.rows.stop > rows.start]


def _within(inner: slice, outer: slice) -> bool:
    return bool(outer.start <= inner.start < inner.stop <= outer.stop)
