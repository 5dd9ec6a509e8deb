"""A picture of any size as the steps see it: described here, and read in regions.

Nothing but what is asked for is ever a float array, so that a 100-megapixel scan costs its own samples and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import colour, scratch
from pipeline.colour import SRGB, ColourSpace
from pipeline.resize import Resampling
from pipeline.types import FloatImage

#: Rows that are converted or averaged at a time.
BAND_ROWS = 64


class Picture(Protocol):
    """Working pixels, sRGB float32 in [0, 1], of whatever region is asked for."""

    @property
    def width(self) -> int: ...  #: px

    @property
    def height(self) -> int: ...  #: px

    def region(self, rows: slice, columns: slice) -> FloatImage:
        """(rows, columns, 3); both within the picture, with a start and a stop. Never to be written to."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A picture that is an array already."""

    image: FloatImage  #: (H, W, 3)

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    def region(self, rows: slice, columns: slice) -> FloatImage:
        return self.image[rows, columns]


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """A picture whose samples are encoded as sRGB's are."""

    samples: NDArray[Any]  #: (H, W, 1 or 3) uint8 or uint16

    @property
    def width(self) -> int:
        return int(self.samples.shape[1])

    @property
    def height(self) -> int:
        return int(self.samples.shape[0])

    def region(self, rows: slice, columns: slice) -> FloatImage:
        scaled = colour.unit(self.samples[rows, columns])
        return np.ascontiguousarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))


def of_samples(samples: NDArray[Any], space: ColourSpace) -> Picture:
    """The picture that (H, W, C) uint8 or uint16 samples of a colour space show, by their full depth.

    Where that takes a colour transform, it is done once, into 16 bits a sample (what the transform gives).
    """
    if space.is_plain:
        return _Encoded(samples)
    height, width = samples.shape[:2]
    converted = scratch.zeros((height, width, SRGB.kind.bands), np.uint16)
    for rows in bands(height):
        converted[rows] = colour.to_srgb(samples[rows], space)
    return _Encoded(converted)


def whole(picture: Picture) -> FloatImage:
    """All of it (H, W, 3); for pictures that are known to be small."""
    return picture.region(slice(0, picture.height), slice(0, picture.width))


def resized(picture: Picture, width: int, height: int) -> FloatImage:
    """A copy at another size, clipped to [0, 1]; what was read for it is never in memory at once.

    At the picture's own size it is the picture. The caller keeps the size bounded.
    """
    if (width, height) == (picture.width, picture.height):
        return whole(picture)
    resampling = Resampling((picture.width, picture.height), (width, height))
    copy = np.empty((height, width, 3), np.float32)
    for rows in resampling.bands:
        copy[rows] = resampling(lambda source: rows_of(picture, source), rows)
    return np.clip(copy, 0, 1, out=copy)


def shrunk(picture: Picture, width: int, height: int) -> FloatImage:
    """A smaller copy for networks to look at: each pixel the mean of what it covers, by the samples' own depth.

    A tenth of the work of ``resized``, and softer: nobody else should look at it. A picture that is neither
    samples nor an array is ``resized``.
    """
    if isinstance(picture, Drawn):
        return _means(picture.image, width, height)
    if not isinstance(picture, _Encoded):
        return resized(picture, width, height)
    return _Encoded(_means(picture.samples, width, height)).region(slice(0, height), slice(0, width))


def _means(samples: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    means = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(means).reshape(height, width, samples.shape[2])


def rows_of(picture: Picture, rows: slice) -> FloatImage:
    """Whole rows."""
    return picture.region(rows, slice(0, picture.width))


def averaged(picture: Picture, rows: slice, columns: slice, factor: int) -> FloatImage:
    """A region's means over blocks of ``factor`` x ``factor`` pixels; the last blocks are filled up with their edge."""
    across, down = -(-(columns.stop - columns.start) // factor), -(-(rows.stop - rows.start) // factor)
    means = np.empty((down, across, 3), np.float32)
    for band in bands(down, max(1, BAND_ROWS // factor)):
        top, size = rows.start + band.start * factor, (across, band.stop - band.start)
        region = picture.region(slice(top, min(top + size[1] * factor, rows.stop)), columns)
        lacking = ((0, size[1] * factor - region.shape[0]), (0, across * factor - region.shape[1]), (0, 0))
        means[band] = cv2.resize(np.pad(region, lacking, mode="edge"), size, interpolation=cv2.INTER_AREA)
    return means


def bands(height: int, rows: int = BAND_ROWS) -> list[slice]:
    """The rows of a picture in bands, from the top down."""
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
