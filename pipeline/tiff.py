"""What about TIFF files libvips neither tells nor writes: how a page is compressed, and the tags that describe it.

Source: TIFF 6.0 (1992), section 2; BigTIFF as implemented by libtiff; Adobe XMP Specification part 3, section 2.5.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from enum import IntEnum

from pipeline import ifd
from pipeline.errors import UnsupportedImage
from pipeline.exif import Exif, directory_of
from pipeline.ifd import BadDirectory, Layout, Value
from pipeline.scratch import Data, Pieces

_SUBFILE_TYPE, _REDUCED = 254, 1
_COMPRESSION, _PHOTOMETRIC, _EXTRA_SAMPLES, _SUB_DIRECTORIES = 259, 262, 338, 330
_PALETTE = 3
_XMP, _IPTC, _DNG_VERSION = 700, 33723, 50706
#: libvips' only scheme for two levels; the older ones of CCITT become it.
FAX = "ccittfax4"
#: Tag value → libvips' name; unknown schemes are left out.
_SCHEMES = {
    1: "none",
    2: FAX,
    3: FAX,
    4: FAX,
    5: "lzw",
    7: "jpeg",
    8: "deflate",
    32946: "deflate",
    32773: "packbits",
}


class ExtraSample(IntEnum):
    """What the channel beside the colours is; the tag's values."""

    UNSPECIFIED = 0  #: not transparency: scanners store infrared so
    ASSOCIATED = 1  #: transparency, and the colours are multiplied by it
    UNASSOCIATED = 2


#: What is used where the source's own scheme cannot be.
LOSSLESS = "deflate"


def compression(data: bytes, page: int) -> str:
    """Libvips' name of the scheme that a page (1 = first) is stored with; ``deflate`` if that cannot be kept."""
    return _SCHEMES.get(_number(data, page, _COMPRESSION, default=1), LOSSLESS)


def has_palette(data: bytes, page: int) -> bool:
    """Whether a page's samples are numbers of colours in a table."""
    return _number(data, page, _PHOTOMETRIC, default=0) == _PALETTE


def refuse_compression(data: bytes, page: int) -> None:
    """Say so if it is the page's compression for which a page could not be read.

    Raises:
        UnsupportedImage: it is none of those that we know.
    """
    scheme = _number(data, page, _COMPRESSION, default=1)
    if scheme not in _SCHEMES:
        raise UnsupportedImage(f"TIFF compression {scheme} is not read; save it with LZW, Deflate or none")


def extra_sample(data: bytes, page: int) -> ExtraSample:
    """What the channel beside the colours means; a value that the standard does not know means nothing."""
    found = _number(data, page, _EXTRA_SAMPLES, default=0)
    return ExtraSample(found) if found in set(ExtraSample) else ExtraSample.UNSPECIFIED


def refuse_camera_raw(data: bytes) -> None:
    """Camera makers' raw files and DNG are TIFF files whose first page is a thumbnail.

    Raises:
        UnsupportedImage: it is one, and what can be done.
    """
    thumbnail = _number(data, 1, _SUBFILE_TYPE, default=0) & _REDUCED
    if thumbnail and (_number(data, 1, _SUB_DIRECTORIES, default=0) or _number(data, 1, _DNG_VERSION, default=0)):
        raise UnsupportedImage("a camera's raw file is not read; develop it to TIFF, PNG or JPEG first")


def _number(data: bytes, page: int, tag: int, *, default: int) -> int:
    try:
        layout = Layout.of(data)
        rows, _ = layout.raw_entries(data, directory_of(data, page, layout))
    except BadDirectory:
        return default
    value = layout.value(data, rows[tag]) if tag in rows else None
    found = ifd.number({tag: value}, tag, layout.order) if value is not None else None
    return default if found is None else found


def with_tags(
    data: Data, exif: Exif, *, xmp: bytes | None, iptc: bytes | None, extra: ExtraSample | None = None
) -> Pieces:
    """A one-page TIFF file with a new directory at its end: libvips' tags for the pixels, and ours for the words.

    ``extra`` says what the channel beside the colours is, where libvips would call it transparency. In pieces; no pixel
    moves, and the old directory stays behind as dead bytes.
    """
    layout = Layout.of(data)
    raw, _ = layout.raw_entries(data, layout.first(data))
    exif = exif.in_order(layout.order)
    if extra is ExtraSample.UNSPECIFIED and _EXTRA_SAMPLES in raw:
        del raw[_EXTRA_SAMPLES]
        unspecified = Value(type=ifd.SHORT, data=struct.pack(layout.order + "H", extra))
        exif = replace(exif, main=exif.main | {_EXTRA_SAMPLES: unspecified})
    start = len(data) + len(data) % 2
    behind, places = exif.subordinates(layout, start)
    pointers = {tag: Value(type=layout.pointer_type, data=layout.pointer(at)) for tag, at in places.items()}
    texts = {_XMP: xmp, _IPTC: iptc}
    blobs = {tag: Value(type=ifd.BYTE, data=text) for tag, text in texts.items() if text}
    tags = {tag: value for tag, value in (exif.main | pointers | blobs).items() if tag not in raw}
    directory = layout.encoded(tags, start + len(behind), raw=raw)
    view, first = memoryview(data), layout.first_at
    pointer, padding = layout.pointer(start + len(behind)), bytes(start - len(data))
    return view[:first], pointer, view[first + layout.inline_bytes :], padding, behind, directory
