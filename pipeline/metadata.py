"""What a file says beside its pixels: EXIF, XMP, IPTC, captions, resolution; kept, stripped, and marked as altered.

Blobs travel as they are: libvips sets orientation, size and resolution inside the EXIF block when it writes one.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from xml.parsers import expat

#: A file that does not tell its resolution has this one, by the EXIF standard (4.6.5, XResolution).
UNKNOWN_RESOLUTION = 72 / 25.4

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


class SourceType(StrEnum):
    """IPTC's words for how the pixels came about."""

    COMPOSITE = _TERMS + "compositeWithTrainedAlgorithmicMedia"  #: a network's face pixels mixed with the capture
    ENHANCED = _TERMS + "algorithmicallyEnhanced"  #: upsampled by a network, no face pixels of its making


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A file's own words; blobs as libvips names and frames them."""

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)  #: captions: libvips' field name → text
    resolution: tuple[float, float] | None = None  #: pixels per mm, x and y; None = the file does not tell

    def scaled(self, x: float, y: float) -> tuple[float, float]:
        """The resolution at which a picture with ``x`` and ``y`` times as many pixels has its old print size."""
        if self.resolution is None:
            return UNKNOWN_RESOLUTION, UNKNOWN_RESOLUTION
        return self.resolution[0] * x, self.resolution[1] * y

    def stripped(self) -> Metadata:
        """Only what says how large the picture is."""
        return Metadata(resolution=self.resolution)


def without_thumbnail(exif: bytes) -> bytes:
    """An EXIF block that ends after its first directory: the thumbnail shows the picture as it was, or more of it."""
    frame = len(_EXIF_FRAME) if exif.startswith(_EXIF_FRAME) else 0
    order = "<" if exif[frame : frame + 2] == b"II" else ">"
    cut = bytearray(exif)
    try:
        (first,) = struct.unpack_from(order + "I", cut, frame + 4)
        (count,) = struct.unpack_from(order + "H", cut, frame + first)
        struct.pack_into(order + "I", cut, frame + first + 2 + 12 * count, 0)
    except struct.error:
        return exif  # too short to hold one
    return bytes(cut)


def mark(xmp: bytes | None, source_type: SourceType) -> bytes:
    """An XMP packet that says how the pixels came about; every other word of the packet stays as it is.

    A packet that is no well-formed XML, or that declares entities, is replaced: nothing could be read from it.
    """
    packet = xmp if xmp is not None and is_sound(xmp) else _EMPTY_PACKET
    without = _OLD_MARK.sub(b"", packet)
    end = _END_OF_RDF.search(without)
    if end is None:
        return mark(None, source_type)
    # "rdf:about" must be the same in all of a packet's descriptions; nearly all packets leave it empty.
    about = _ABOUT.search(without)
    mine = _DESCRIPTION % (about["value"] if about else b'""', _IPTC_EXT.encode(), source_type.encode())
    return without[: end.start()] + mine + without[end.start() :]


def is_sound(xmp: bytes) -> bool:
    """Whether a packet is well-formed XML without a document type (which could expand without bound)."""
    parser = expat.ParserCreate()
    declared: list[str] = []
    parser.StartDoctypeDeclHandler = lambda name, *_: declared.append(name)
    try:
        parser.Parse(xmp.strip(b"\0 \t\r\n"), True)
    except expat.ExpatError:
        return False
    return not declared


_EXIF_FRAME = b"Exif\0\0"
_EMPTY_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)
_END_OF_RDF = re.compile(rb"</rdf:RDF\s*>")
_ABOUT = re.compile(rb"""\brdf:about\s*=\s*(?P<value>"[^"]*"|'[^']*')""")
#: What we append; else the property as an attribute, as an element with text, and as an empty element.
_OLD_MARK = re.compile(
    rb"""<rdf:Description rdf:about=(?:"[^"]*"|'[^']*') xmlns:Iptc4xmpExt="[^"]*" """
    rb"""Iptc4xmpExt:DigitalSourceType="[^"]*"/>"""
    rb"""|\s[\w.-]+:DigitalSourceType\s*=\s*(?:"[^"]*"|'[^']*')"""
    rb"|<(?P<name>[\w.-]+:DigitalSourceType)\b[^>]*(?:/>|>[^<]*</(?P=name)\s*>)"
)
_DESCRIPTION = b'<rdf:Description rdf:about=%s xmlns:Iptc4xmpExt="%s" Iptc4xmpExt:DigitalSourceType="%s"/>'
