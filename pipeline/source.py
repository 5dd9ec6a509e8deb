"""A picture as its file has it; what the networks see of it is made from that when it is needed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import vips
from pipeline.colour import ColourSpace, Kind
from pipeline.formats import Format
from pipeline.metadata import Metadata
from pipeline.tiff import ExtraSample
from pipeline.types import Notice

if TYPE_CHECKING:
    from pipeline.picture import Picture


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
    page: int  #: which one this is; 1 = first
    pages: int
    lossless: bool  #: whether the file's own compression keeps every sample
    compression: str | None  #: libvips' name; TIFF only
    extra_sample: ExtraSample | None  #: what the alpha channel of a TIFF file means

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceImage:
    """A decoded picture: the file's own samples, never written to; they may lie in memory that another owns."""

    header: Header
    samples: vips.Samples  #: (H, W, 1, 3 or 4) the colour channels as stored, orientation applied
    alpha: vips.Samples | None  #: (H, W, 1), same depth
    space: ColourSpace  #: of ``samples``
    metadata: Metadata
    notices: tuple[Notice, ...] = ()

    @functools.cached_property
    def picture(self) -> Picture:
        """The working sRGB, made from the samples' full depth."""
        # Here, so that a process that only decodes strangers' files does without OpenCV.
        from pipeline import picture  # noqa: PLC0415

        return picture.of_samples(self.samples, self.space)

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
