"""The picture formats that we read and write: how they are told apart, and what each can hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import UnreadableImage


class Format(StrEnum):
    """A file format, decided by content and never by a name."""

    JPEG = "jpeg"
    PNG = "png"
    TIFF = "tiff"
    WEBP = "webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a format can hold."""

    content_type: str
    extension: str  #: without the dot
    depths: tuple[int, ...]  #: bits a sample
    alpha: bool
    cmyk: bool
    gray: bool  #: as one channel; WebP stores gray as colour
    max_side: int  #: px


CAPABILITIES: dict[Format, Capabilities] = {
    Format.JPEG: Capabilities(
        content_type="image/jpeg", extension="jpg", depths=(8,), alpha=False, cmyk=True, gray=True, max_side=65_500
    ),
    Format.PNG: Capabilities(
        content_type="image/png", extension="png", depths=(8, 16), alpha=True, cmyk=False, gray=True, max_side=1_000_000
    ),
    Format.TIFF: Capabilities(
        content_type="image/tiff", extension="tif", depths=(8, 16), alpha=True, cmyk=True, gray=True, max_side=1_000_000
    ),
    Format.WEBP: Capabilities(
        content_type="image/webp", extension="webp", depths=(8,), alpha=True, cmyk=False, gray=False, max_side=16_383
    ),
}

_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def sniff(data: bytes) -> Format:
    """The format that the first bytes announce.

    Raises:
        UnreadableImage: none of ours.
    """
    if data[:3] == b"\xff\xd8\xff":
        return Format.JPEG
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return Format.PNG
    if data[:4] in _TIFF_MARKS:
        return Format.TIFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if not data:
        raise UnreadableImage("the file is empty")
    raise UnreadableImage(f"the first bytes {data[:12]!r} are no JPEG, PNG, TIFF or WebP")


def webp_is_lossless(data: bytes) -> bool:
    """Whether a WebP file's (first) picture is stored as VP8L. libvips does not tell."""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name in {b"VP8L", b"VP8 "}:
            return name == b"VP8L"
        # An animation frame's own chunks begin after its 16-byte header.
        at += 8 + 16 if name == b"ANMF" else 8 + size + size % 2
    return False
