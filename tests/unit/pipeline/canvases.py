"""Canvases and pictures for tests, which have small arrays and want the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.blend import Paste, Patch
from pipeline.composite import Composite
from pipeline.picture import Drawn
from pipeline.restorer import Restorer
from pipeline.types import Band, Canvas, FloatImage, Mask, Restoration, compute_here
from pipeline.upsample import BackgroundUpsampler


def painted(canvas: Canvas) -> Band:
    """All rows."""
    return canvas.band(slice(0, canvas.height))


def pasted(under: FloatImage, patches: Sequence[Patch]) -> tuple[FloatImage, Mask]:
    """The patches on a picture at its own size, and where they are."""
    size = under.shape[1], under.shape[0]
    band = painted(Composite(Drawn(under), size, faces=[Paste(patch, *size) for patch in patches]))
    return band.image, band.changed


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A ``Canvas`` of which every pixel is known."""

    plain: FloatImage
    image: FloatImage
    changed: Mask

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    def band(self, rows: slice, columns: slice | None = None) -> Band:
        at = rows, columns or slice(0, self.width)
        return Band(plain=self.plain[at], image=self.image[at], changed=self.changed[at])

    def touched(self, rows: slice) -> tuple[slice, ...]:
        del rows
        return (slice(0, self.width),)


class Seen:
    """A restoration together with all its pixels."""

    def __init__(self, restoration: Restoration) -> None:
        band = painted(restoration.canvas)
        self.image, self.changed = band.image, band.changed
        self._restoration = restoration

    def __getattr__(self, name: str) -> object:
        return getattr(self._restoration, name)


class OfArrays(Restorer):
    """A restorer of pictures that are arrays."""

    def __call__(self, image, options, **more):
        return Seen(super().__call__(Drawn(image), options, **more))


def enlarged(
    upsampler: BackgroundUpsampler, image: FloatImage, size: tuple[int, int], **more
) -> tuple[FloatImage, int]:
    """An array through an upsampler, and the tile size that was used."""
    result, tile_px = upsampler(Drawn(image), size, compute=compute_here, **more)
    return result.rows(slice(0, size[1])), tile_px
