"""A picture as its file has it, beside the working copy that the networks see."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import vips
from pipeline.colour import ColourSpace, Kind
from pipeline.formats import Format
from pipeline.metadata import Metadata
from pipeline.types import FloatImage, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself before a pixel is decoded. Sizes are as seen: orientation applied."""

    format: Format
    width: int  #: px
    height: int  #: px
    bit_depth: int  #: as read, 8 or 16; a file of 1, 2 or 4 bits, or with a palette, is read as 8
    file_bits: int  #: as stored
    kind: Kind
    has_alpha: bool
    palette: bool
    has_profile: bool
    orientation: int  #: EXIF, 1 to 8
    pages: int
    lossless: bool  #: whether the file's own compression keeps every sample
    compression: str | None  #: libvips' name; TIFF only

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceImage:
    """A decoded picture: the file's own samples, and the working sRGB made from their full depth."""

    header: Header
    working: FloatImage  #: (H, W, 3) sRGB in [0, 1]
    samples: vips.Samples  #: (H, W, 1, 3 or 4) the colour channels as stored, orientation applied
    alpha: vips.Samples | None  #: (H, W, 1), same depth
    space: ColourSpace  #: of ``samples``
    metadata: Metadata
    notices: tuple[Notice, ...] = ()

    @property
    def width(self) -> int:
        return self.header.width

    @property
    def height(self) -> int:
        return self.header.height

    @property
    def format(self) -> Format:
        return self.header.format

    @property
    def bit_depth(self) -> int:
        return self.header.bit_depth

    @property
    def is_gray(self) -> bool:
        """Whether the file stores one channel; a colour file whose channels are equal is the restorer's to notice."""
        return self.space.kind is Kind.GRAY
