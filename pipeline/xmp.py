"""XMP packets: marked as altered, and made true of the restored picture; every other word stays as it is.

Packets are changed as text: a parser that writes them anew would move what tools like to find in its old place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from xml.parsers import expat
from xml.sax.saxutils import escape

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


class SourceType(StrEnum):
    """IPTC's words for how the pixels came about."""

    COMPOSITE = _TERMS + "compositeWithTrainedAlgorithmicMedia"  #: a network's face pixels mixed with the capture
    ENHANCED = _TERMS + "algorithmicallyEnhanced"  #: upsampled by a network, no face pixels of its making


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was done to a picture, for its packet's history."""

    agent: str  #: program and version
    parameters: str


def mark(xmp: bytes | None, source_type: SourceType, deed: Deed | None = None) -> bytes:
    """An XMP packet that says how the pixels came about; every other word of the packet stays as it is.

    A packet that is no well-formed XML, or that declares entities, is replaced: nothing could be read from it.

    Args:
        xmp: the packet; None = there is none.
        source_type: how the pixels came about.
        deed: what is added to the packet's history, after what others did.
    """
    marked = _marked(xmp, source_type)
    return marked if deed is None else _with_deed(marked, deed)


def _marked(xmp: bytes | None, source_type: SourceType) -> bytes:
    packet = xmp if xmp is not None and is_sound(xmp) else _EMPTY_PACKET
    without = _OLD_MARK.sub(b"", packet)
    end = _END_OF_RDF.search(without)
    if end is None:
        return _marked(None, source_type)
    # "rdf:about" must be the same in all of a packet's descriptions; nearly all packets leave it empty.
    about = _ABOUT.search(without)
    mine = _DESCRIPTION % (about["value"] if about else b'""', _IPTC_EXT.encode(), source_type.encode())
    return without[: end.start()] + mine + without[end.start() :]


def _with_deed(packet: bytes, deed: Deed) -> bytes:
    """The packet with one more event at the end of its history; as it is, if that cannot be done with care."""
    event = _EVENT % (escape(deed.agent).encode(), escape(deed.parameters).encode())
    at, frame = _end_of_history(packet), b"%s"
    if at is None:
        end, about = _END_OF_RDF.search(packet), _ABOUT.search(packet)
        if end is None or _HISTORY.search(packet):
            return packet
        at, frame = end.start(), _NEW_HISTORY.replace(b"ABOUT", about["value"] if about else b'""')
    longer = packet[:at] + frame.replace(b"%s", event) + packet[at:]
    return longer if is_sound(longer) else packet


def _end_of_history(packet: bytes) -> int | None:
    """Where the list of events ends in a packet that has one."""
    history = _HISTORY.search(packet)
    if history is None or not re.search(_MM_DECLARED % re.escape(history["prefix"]), packet):
        return None
    end = packet.find(b"</" + history["prefix"] + b":History", history.end())
    at = packet.rfind(b"</rdf:Seq", history.end(), end) if end != -1 else -1
    return None if at == -1 else at


def is_sound(xmp: bytes) -> bool:
    """Whether a packet is well-formed XML without a document type (which could expand without bound)."""
    parser = expat.ParserCreate()
    declared: list[str] = []
    parser.StartDoctypeDeclHandler = lambda name, *_: declared.append(name)
    try:
        parser.Parse(xmp.strip(b"\0 \t\r\n"), True)
    # The last two: it names an encoding that there is not, or that is none of text.
    except (expat.ExpatError, LookupError, ValueError):
        return False
    return not declared


def made_true(xmp: bytes) -> bytes:
    """The packet of an upright picture: orientation reset; sizes, resolution and thumbnails of the old one left out.

    A packet that is no well-formed XML is left as it is: nobody can read an orientation from it.
    """
    if not is_sound(xmp):
        return xmp
    for (space, name), value in _UNTRUE.items():
        declared = re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']%s["']""" % re.escape(space), xmp)
        for prefix in list(dict.fromkeys(declared))[:_MOST_PREFIXES]:
            xmp = _replaced(xmp, prefix + b":" + name, value)
    return xmp


def _replaced(xmp: bytes, name: bytes, value: bytes | None) -> bytes:
    """A property, be it an attribute or an element, with another value; None = without it."""
    attribute = re.compile(rb"""\s%s\s*=\s*(?:"[^"]*"|'[^']*')""" % re.escape(name))
    new_attribute = b"" if value is None else b' %s="%s"' % (name, value)
    new_element = b"" if value is None else b"<%s>%s</%s>" % (name, value, name)
    return _without_elements(attribute.sub(new_attribute, xmp), name, new_element)


def _without_elements(xmp: bytes, name: bytes, instead: bytes) -> bytes:
    """In steps: one pattern for whole elements would, for each that is not closed, look through all that follows."""
    begin = re.compile(rb"""<%s(?=[\s/>])(?:[^<>"']|"[^"<]*"|'[^'<]*')*>""" % re.escape(name))
    end = re.compile(rb"</%s\s*>" % re.escape(name))
    pieces, at = [], 0
    while opened := begin.search(xmp, at):
        closed = opened if opened[0].endswith(b"/>") else end.search(xmp, opened.end())
        if closed is None:
            break
        pieces += [xmp[at : opened.start()], instead]
        at = closed.end()
    return b"".join([*pieces, xmp[at:]])


def tells_of_gain_map(xmp: bytes) -> bool:
    """Whether the file of this packet holds an HDR gain map beside its picture."""
    return _GAIN_MAP_SPACE in xmp


def without_padding(xmp: bytes) -> bytes:
    """The packet without the room that its writer left for later changes."""
    text, trailer, rest = xmp.rpartition(b"<?xpacket end=")
    return text.rstrip() + trailer + rest if trailer else xmp


_TIFF_SPACE, _EXIF_SPACE, _XMP_SPACE = (
    b"http://ns.adobe.com/tiff/1.0/",
    b"http://ns.adobe.com/exif/1.0/",
    b"http://ns.adobe.com/xap/1.0/",
)
#: Phones' second picture inside the file, which says how to brighten the first; it is not written again.
_GAIN_MAP_SPACE = b"http://ns.adobe.com/hdr-gain-map/1.0/"
_CONTAINER_SPACE = b"http://ns.google.com/photos/1.0/container/"
#: What a restored picture's packet says of these; None = nothing.
_UNTRUE: dict[tuple[bytes, bytes], bytes | None] = {
    (_TIFF_SPACE, b"Orientation"): b"1",
    (_TIFF_SPACE, b"ImageWidth"): None,
    (_TIFF_SPACE, b"ImageLength"): None,
    (_TIFF_SPACE, b"XResolution"): None,
    (_TIFF_SPACE, b"YResolution"): None,
    (_EXIF_SPACE, b"PixelXDimension"): None,
    (_EXIF_SPACE, b"PixelYDimension"): None,
    (_XMP_SPACE, b"Thumbnails"): None,
    (_GAIN_MAP_SPACE, b"Version"): None,
    (_CONTAINER_SPACE, b"Directory"): None,
}
#: More names for one namespace than any honest packet has; each costs a look through all of it.
_MOST_PREFIXES = 8
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
    rb"|<(?P<name>[\w.-]+:DigitalSourceType)\b[^<>]*(?:/>|>[^<]*</(?P=name)\s*>)"
)
_HISTORY = re.compile(rb"<(?P<prefix>[\w.-]+):History(?=[\s/>])")
_MM_DECLARED = rb"""xmlns:%s\s*=\s*["']http://ns\.adobe\.com/xap/1\.0/mm/["']"""
#: Without a time: the same input, options and weights give the same bytes.
_EVENT = (
    b'<rdf:li xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" rdf:parseType="Resource">'
    b"<stEvt:action>edited</stEvt:action><stEvt:softwareAgent>%s</stEvt:softwareAgent>"
    b"<stEvt:parameters>%s</stEvt:parameters><stEvt:changed>/</stEvt:changed></rdf:li>"
)
_NEW_HISTORY = (
    b'<rdf:Description rdf:about=ABOUT xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/">'
    b"<xmpMM:History><rdf:Seq>%s</rdf:Seq></xmpMM:History></rdf:Description>"
)
_DESCRIPTION = b'<rdf:Description rdf:about=%s xmlns:Iptc4xmpExt="%s" Iptc4xmpExt:DigitalSourceType="%s"/>'
