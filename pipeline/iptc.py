"""IPTC's older captions (IIM): the frames that each format puts around the same bytes.

JPEG has them inside Photoshop's resources, TIFF bare in a tag, PNG as text in hexadecimal. Of Photoshop's other
resources none is kept: they hold a thumbnail of the old picture, its resolution, and window settings.

Source: IPTC IIM 4.2; Adobe Photoshop File Formats Specification (2019), "Image Resource Blocks"; ImageMagick's "Raw
profile" text chunks, as ExifTool reads and writes them.
"""

from __future__ import annotations

import binascii
import struct

_SIGNATURE = b"Photoshop 3.0\0"
_RESOURCE = b"8BIM"
_IPTC_ID = 0x0404
#: Every data set begins with it.
_MARKER = b"\x1c"
#: Resources that are walked through at most.
_MAX_RESOURCES = 1000


def bare(framed: bytes) -> bytes | None:
    """The captions themselves, out of whatever frame; None where there are none."""
    resources = framed.removeprefix(_SIGNATURE)
    found = _of_resources(resources) if resources.startswith(_RESOURCE) else framed
    # Padding to whole 32-bit words, which TIFF asks for, is none of the captions.
    return found if found is not None and found.startswith(_MARKER) else None


def _of_resources(resources: bytes) -> bytes | None:
    at = 0
    for _ in range(_MAX_RESOURCES):
        if resources[at : at + 4] != _RESOURCE or at + 7 > len(resources):
            return None
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        name = 1 + resources[at + 6]
        at += 6 + name + name % 2
        if at + 4 > len(resources):
            return None
        (size,) = struct.unpack_from(">I", resources, at)
        if kind == _IPTC_ID:
            return resources[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return None


def as_resource(captions: bytes) -> bytes:
    """As JPEG's APP13 segment holds them."""
    header = _SIGNATURE + _RESOURCE + struct.pack(">HHI", _IPTC_ID, 0, len(captions))
    return header + captions + bytes(len(captions) % 2)


def as_text(captions: bytes) -> bytes:
    """As a PNG text chunk's words hold them."""
    framed = as_resource(captions).removeprefix(_SIGNATURE)
    digits = binascii.hexlify(framed)
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"\niptc\n%8d\n%s\n" % (len(framed), lines)


def of_text(words: bytes) -> bytes | None:
    """The captions in a PNG text chunk's words."""
    try:
        framed = binascii.unhexlify(b"".join(words.split()[2:]))
    except binascii.Error:
        return None
    return bare(framed)
