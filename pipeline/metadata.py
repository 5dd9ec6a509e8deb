"""What a file says beside its pixels: EXIF, XMP, IPTC, comments, resolution; kept or stripped, and put into a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline import containers, tiff, xmp
from pipeline.containers import MAX_SEGMENT_BYTES, Words
from pipeline.exif import Exif
from pipeline.formats import Format
from pipeline.scratch import Data, Pieces
from pipeline.tiff import ExtraSample
from pipeline.types import Notice
from pipeline.xmp import Deed, SourceType

#: A file that does not tell its resolution has this one, by the EXIF standard (4.6.5, XResolution).
UNKNOWN_RESOLUTION = 72 / 25.4

#: The longest name that a JPEG segment puts before its content: XMP's.
_FRAME_BYTES = 64
#: EXIF tags that a notice names.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A file's own words, without their format's frames."""

    exif: Exif = field(default_factory=lambda: Exif(order="<"))
    xmp: bytes | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()  #: of JPEG and PNG, as ``containers.Words`` takes them
    resolution: tuple[float, float] | None = None  #: pixels per mm, x and y; None = the file does not tell

    def scaled(self, x: float, y: float) -> Metadata:
        """The words of a picture with ``x`` and ``y`` times as many pixels and its old print size."""
        if self.resolution is None:
            return self
        return replace(self, resolution=(self.resolution[0] * x, self.resolution[1] * y))

    def stripped(self) -> Metadata:
        """Only what says how large the picture is."""
        return Metadata(resolution=self.resolution)

    def in_another_format(self) -> Metadata:
        """Without what only one format has."""
        return replace(self, comments=())


def attached(
    file: Data,
    picture_format: Format,
    told: Metadata,
    *,
    width: int,
    height: int,
    source_type: SourceType | None,
    deed: Deed | None = None,
    extra: ExtraSample | None = None,
) -> tuple[Pieces, tuple[Notice, ...]]:
    """A file that libvips wrote without words, with the words in it, in pieces; and what had to be left out.

    Args:
        file: the encoded picture, ``width`` x ``height`` px, upright.
        picture_format: of ``file``.
        told: the source's words, with the resolution of ``file``.
        width: px
        height: px
        source_type: how the pixels came about; None = not marked.
        deed: for the history of a file that is marked.
        extra: what a TIFF file's channel beside the colours is; None = transparency, or there is none.
    """
    packet = xmp.made_true(told.xmp) if told.xmp is not None else None
    if source_type is not None:
        packet = xmp.mark(packet, source_type, deed)
    exif = told.exif.made_true(width, height, told.resolution)
    if picture_format is Format.TIFF:
        return tiff.with_tags(file, exif, xmp=packet, iptc=told.iptc, extra=extra), ()
    words = Words(exif=exif.block(), xmp=packet, iptc=told.iptc, comments=told.comments)
    left_out: tuple[str, ...] = ()
    if picture_format is Format.JPEG:
        words, left_out = _within_segments(words, exif)
    elif picture_format is Format.WEBP and words.iptc is not None:
        left_out = ("IPTC captions",)
    notices = (_left_out(picture_format, left_out),) if left_out else ()
    return containers.dressed(file, picture_format, words), notices


def _left_out(picture_format: Format, what: tuple[str, ...]) -> Notice:
    return Notice(
        code="metadata_left_out", detail=f"A {picture_format} file has no room for the input's {', '.join(what)}."
    )


def _within_segments(words: Words, exif: Exif) -> tuple[Words, tuple[str, ...]]:
    """What JPEG's segments hold, and what they do not. The largest EXIF values go first: makers' private notes."""
    room = MAX_SEGMENT_BYTES - _FRAME_BYTES
    exif, gone = exif.within(room)
    left_out = [f"EXIF tag {tag}" for tag in gone[:_MOST_NAMED]]
    if len(gone) > _MOST_NAMED:
        left_out.append(f"{len(gone) - _MOST_NAMED} more EXIF tags")
    packet = words.xmp
    if packet is not None and len(packet) > room:
        packet = xmp.without_padding(packet)
    if packet is not None and len(packet) > room:
        packet = None
        left_out.append("XMP")
    captions = words.iptc if words.iptc is None or len(words.iptc) <= room else None
    if captions is not words.iptc:
        left_out.append("IPTC captions")
    return Words(exif=exif.block(), xmp=packet, iptc=captions, comments=words.comments), tuple(left_out)
