"""The picture formats that we read and write: how they are told apart, and what each can hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import UnreadableImage, UnsupportedImage


class Format(StrEnum):
    """A file format, decided by content and never by a name."""

    JPEG = "jpeg"
    PNG = "png"
    TIFF = "tiff"
    WEBP = "webp"
    GIF = "gif"  #: read only
    AVIF = "avif"  #: read only

    @property
    def content_type(self) -> str:
        """The media type; our names are IANA's."""
        return f"image/{self}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a format that we write can hold."""

    extension: str  #: without the dot
    depths: tuple[int, ...]  #: bits a sample
    alpha: bool
    cmyk: bool
    gray: bool  #: as one channel; WebP stores gray as colour
    max_side: int  #: px


CAPABILITIES: dict[Format, Capabilities] = {
    Format.JPEG: Capabilities(extension="jpg", depths=(8,), alpha=False, cmyk=True, gray=True, max_side=65_500),
    Format.PNG: Capabilities(extension="png", depths=(8, 16), alpha=True, cmyk=False, gray=True, max_side=1_000_000),
    Format.TIFF: Capabilities(extension="tif", depths=(8, 16), alpha=True, cmyk=True, gray=True, max_side=1_000_000),
    Format.WEBP: Capabilities(extension="webp", depths=(8,), alpha=True, cmyk=False, gray=False, max_side=16_383),
}

#: What a picture becomes whose own format we do not write: a GIF holds too few colours, an AVIF takes minutes.
INSTEAD = Format.PNG

_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: As many first bytes as ``sniff`` looks at.
SNIFF_BYTES = 128


def written_as(source: Format, wish: str) -> Format:
    """The format of a result: the wished one, else the source's own if we write it, else PNG.

    Args:
        source: the input's.
        wish: the option ``format``.
    """
    if wish != "auto":
        return Format(wish)
    return source if source in CAPABILITIES else INSTEAD


def sniff(data: bytes) -> Format:
    """The format that the first bytes announce.

    Raises:
        UnreadableImage: none of ours.
        UnsupportedImage: a relative of one of ours that we do not read; the message says what to do.
    """
    if data[:3] == b"\xff\xd8\xff":
        return Format.JPEG
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return Format.PNG
    if data[:4] in _TIFF_MARKS:
        return Format.TIFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return Format.GIF
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    if not data:
        raise UnreadableImage("the file is empty")
    raise UnreadableImage(f"the first bytes {data[:4]!r} are no JPEG, PNG, TIFF, WebP, GIF or AVIF")


def _of_brands(data: bytes) -> Format:
    """AVIF among the relatives of HEIF, by the brands in the first box. Source: ISO/IEC 14496-12, 4.3."""
    brands = _brands(data)
    if b"avif" in brands:
        return Format.AVIF
    if brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}:
        raise UnsupportedImage("HEIC, as phones write it, is not read; export the photo as JPEG, or convert it to AVIF")
    raise UnreadableImage(f"a file of brand {data[8:12]!r} is no picture that we read")


def _brands(data: bytes) -> set[bytes]:
    size = min(struct.unpack_from(">I", data)[0], SNIFF_BYTES)
    # The second word is a version, no brand.
    return {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}


def avif_is_animated(data: bytes) -> bool:
    """Whether an AVIF file holds a sequence beside its still picture, which is all that libvips reads."""
    return b"avis" in _brands(data)


def gif_has_no_pixels(data: bytes) -> bool:
    """Whether a GIF file's canvas has no width or no height, by its header; its frames may say more."""
    return 0 in struct.unpack_from("<HH", data, 6)


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


#: Colour primaries and transfer curves of AVIF that are sRGB's, or not told. Source: ITU-T H.273, tables 2 and 3.
_SRGB_PRIMARIES, _SRGB_CURVES, _P3_PRIMARIES = {1, 2}, {1, 2, 6, 13}, 12


def avif_is_p3(data: bytes) -> bool:
    """Whether an AVIF file without a profile holds Display P3; libvips does not tell.

    Raises:
        UnsupportedImage: its colours are HDR's, which would come out pale.
    """
    at = data.find(b"colrnclx")
    if at < 0 or at + 12 > len(data):
        return False
    primaries, curve = struct.unpack_from(">HH", data, at + 8)
    if primaries not in {*_SRGB_PRIMARIES, _P3_PRIMARIES} or curve not in _SRGB_CURVES:
        raise UnsupportedImage(
            f"the AVIF file's colours (primaries {primaries}, curve {curve}) are not read; convert it to sRGB"
        )
    return bool(primaries == _P3_PRIMARIES)
