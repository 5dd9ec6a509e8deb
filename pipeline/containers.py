"""JPEG, PNG and WebP files taken apart into segments and chunks, and words about the picture put between them.

libvips writes the pixels and the colour profile, this module the rest: libvips loses EXIF tags that it does not know,
frames IPTC's captions by their source's format, and has no place for them in PNG.

Source: JPEG: ITU-T T.81 annex B, EXIF 2.32 section 4.7, Adobe XMP Specification part 3 (2020); PNG: W3C PNG third
edition (2025); WebP: RFC 9649, section 2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline import iptc
from pipeline.errors import UnsupportedImage
from pipeline.formats import Format
from pipeline.icc import SRGB_CHROMATICITIES, SRGB_EXPONENT, Encoding
from pipeline.scratch import Data, Pieces

_EXIF_FRAME = b"Exif\0\0"
_XMP_FRAME = b"http://ns.adobe.com/xap/1.0/\0"
#: A JPEG segment's length has 16 bits and counts itself.
MAX_SEGMENT_BYTES = 65_533

_PNG_SIGNATURE_BYTES, _PNG_HEADER_BYTES = 8, 25
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_KEYWORD = b"Raw profile type "
#: Start-of-frame markers: of all kinds, and of those that libvips' decoder reads, baseline to lossless.
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_FRAMES_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_JPEG_BITS = 8
_ONE_FRAME = b"\0\0\0\1"
#: More segments or chunks beside the pixels than any real file has.
_MAX_PIECES = 10_000
#: A caption that unpacks to more is left out: 1 MiB; and one that with those before it does: 16 MiB.
_MAX_TEXT_BYTES, _MAX_TEXTS_BYTES = 1 << 20, 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is put into a file, in the form that its format holds."""

    exif: bytes | None = None  #: a block without JPEG's frame
    xmp: bytes | None = None
    iptc: bytes | None = None  #: bare
    comments: tuple[bytes, ...] = ()  #: JPEG: comments; PNG: text chunks, name and content


def dressed(data: Data, picture_format: Format, words: Words) -> Pieces:
    """A file with the words in it, in pieces; what does not fit into a JPEG segment must have been left out before."""
    if picture_format is Format.JPEG:
        return _dressed_jpeg(data, words)
    if picture_format is Format.PNG:
        return _dressed_png(data, words)
    return _dressed_webp(data, words)


def comments(data: bytes, picture_format: Format) -> tuple[bytes, ...]:
    """The captions that only this format has, as ``Words`` takes them."""
    if picture_format is Format.JPEG:
        return tuple(body for marker, body in _segments(data) if marker == 0xFE)
    return _png_texts(data)[0] if picture_format is Format.PNG else ()


def png_bombs(data: bytes) -> int:
    """How many of a PNG file's texts are not kept, since they unpack to more than any caption has."""
    return _png_texts(data)[1]


def _png_texts(data: bytes) -> tuple[tuple[bytes, ...], int]:
    kept: list[bytes] = []
    bombs, room = 0, _MAX_TEXTS_BYTES
    for kind, body in _png_chunks(data):
        if kind not in {b"tEXt", b"zTXt", b"iTXt"} or body.startswith((_XMP_KEYWORD, _RAW_KEYWORD)):
            continue
        packed = _packed(kind, body)
        size = 0 if packed is None else _unpacked_bytes(packed, min(_MAX_TEXT_BYTES, room))
        room -= size
        if packed is not None and (size > _MAX_TEXT_BYTES or room < 0):
            bombs += 1
        else:
            kept.append(kind + body)
    return tuple(kept), bombs


def _packed(kind: bytes, body: bytes) -> bytes | None:
    """What is compressed in a text chunk; None = nothing is."""
    _, _, rest = body.partition(b"\0")
    if kind == b"zTXt":
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        # After the method: language and translated keyword, each ended by a zero.
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return None


def _unpacked_bytes(packed: bytes, most: int) -> int:
    """How long it is; ``most`` + 1 if it is longer than that."""
    try:
        return len(zlib.decompressobj().decompress(packed, max(1, most + 1)))
    except zlib.error:
        return 0


def png_captions(data: bytes) -> bytes | None:
    """IPTC's captions out of a PNG file's text chunks, bare."""
    for kind, body in _png_chunks(data):
        keyword, _, text = body.partition(b"\0")
        if kind in {b"tEXt", b"zTXt"} and keyword == _RAW_KEYWORD + b"iptc":
            return iptc.of_text(text if kind == b"tEXt" else _unpacked(text[1:]))
    return None


def refuse_jpeg_kind(data: bytes) -> None:
    """Say so if it is the kind of a JPEG file for which it could not be read.

    Raises:
        UnsupportedImage: hierarchical, or of other than 8 bits.
    """
    for marker, body in _segments(data):
        if marker in _JPEG_FRAMES and body:
            if marker not in _JPEG_FRAMES_READ:
                raise UnsupportedImage("a hierarchical JPEG file is not read; save it as TIFF or PNG")
            if body[0] != _JPEG_BITS:
                raise UnsupportedImage(f"a JPEG file of {body[0]} bits a sample is not read; save it as TIFF or PNG")
            return


def png_is_animated(data: bytes) -> bool:
    """Whether a PNG file holds an animation beside its still picture, which is all that libvips reads."""
    return any(kind == b"acTL" and body[:4] > _ONE_FRAME for kind, body in _png_chunks(data))


def png_encoding(data: bytes) -> Encoding | None:
    """What a PNG file's gamma and primaries say, where they say something else than sRGB, and nothing says more."""
    said: dict[bytes, tuple[float, ...]] = {}
    for kind, body in _png_chunks(data):
        if kind in {b"sRGB", b"iCCP", b"cICP"}:
            return None
        if kind == b"IDAT":
            break
        if (kind, len(body)) in {(b"gAMA", 4), (b"cHRM", 32)}:
            said[kind] = tuple(value / 100_000 for (value,) in struct.iter_unpack(">I", body))
    encoding = Encoding(
        exponent=said.get(b"gAMA", (SRGB_EXPONENT,))[0], chromaticities=said.get(b"cHRM", SRGB_CHROMATICITIES)
    )
    return encoding if encoding.is_possible and not encoding.is_srgb else None


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""
    return text if unpacker.eof else b""


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A JPEG file's segments before its first scan: marker's second byte, content."""
    at = 2
    for _ in range(_MAX_PIECES):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        if data[at + 1] == 0xFF:  # a filling byte
            at += 1
            continue
        marker, (size,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA or size < 2:
            return
        yield marker, bytes(data[at + 4 : at + 2 + size])
        at += 2 + size


def _dressed_jpeg(data: Data, words: Words) -> Pieces:
    bodies = [
        (0xE1, _EXIF_FRAME + words.exif if words.exif is not None else None),
        (0xE1, _XMP_FRAME + words.xmp if words.xmp is not None else None),
        (0xED, iptc.as_resource(words.iptc) if words.iptc is not None else None),
        *((0xFE, comment) for comment in words.comments),
    ]
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in bodies if body is not None
    )
    # JFIF wants its own segment to be the first.
    at = 2 + 2 + struct.unpack_from(">H", data, 4)[0] if data[2:4] == b"\xff\xe0" else 2
    return data[:at], segments, memoryview(data)[at:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, others = _PNG_SIGNATURE_BYTES, 0
    while at + 12 <= len(data) and others < _MAX_PIECES:
        size, kind = struct.unpack_from(">I4s", data, at)
        # Pixels are passed over without a copy.
        yield kind, b"" if kind == b"IDAT" else bytes(data[at + 8 : at + 8 + size])
        at += 12 + size
        others += kind != b"IDAT"


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _dressed_png(data: Data, words: Words) -> Pieces:
    chunks = []
    if words.exif is not None:
        chunks.append(_png_chunk(b"eXIf", words.exif))
    if words.xmp is not None:
        # Not compressed, in no language, without a translated keyword.
        chunks.append(_png_chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + words.xmp))
    if words.iptc is not None:
        chunks.append(_png_chunk(b"tEXt", _RAW_KEYWORD + b"iptc\0" + iptc.as_text(words.iptc)))
    chunks += [_png_chunk(comment[:4], comment[4:]) for comment in words.comments]
    at = _PNG_SIGNATURE_BYTES + _PNG_HEADER_BYTES
    return data[:at], *chunks, memoryview(data)[at:]


#: WebP's flags in the extended header.
_WEBP_XMP, _WEBP_EXIF, _WEBP_ALPHA = 0x04, 0x08, 0x10


def _dressed_webp(data: Data, words: Words) -> Pieces:
    # An extended header of 18 bytes is there, or is made from the first ones of the pixels.
    header, at = (data[12:30], 30) if data[12:16] == b"VP8X" else (_extended_header(data[12:30]), 12)
    added = [(b"EXIF", _WEBP_EXIF, words.exif), (b"XMP ", _WEBP_XMP, words.xmp)]
    flags, chunks = header[8], b""
    for kind, flag, content in added:
        if content is not None:
            flags |= flag
            chunks += kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    header = header[:8] + bytes([flags]) + header[9:]
    size = len(b"WEBP") + len(header) + len(data) - at + len(chunks)
    return b"RIFF" + struct.pack("<I", size) + b"WEBP" + header, memoryview(data)[at:], chunks


def _extended_header(body: bytes) -> bytes:
    """VP8X for a file that begins with its pixels."""
    if body[:4] == b"VP8L":
        # After one signature byte: 14 bits width - 1, 14 bits height - 1, one bit alpha.
        bits = struct.unpack_from("<I", body, 9)[0]
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bool(bits >> 28 & 1)
    else:
        # After a frame tag and a start code of three bytes each: 14 bits width, 14 bits height.
        across, down = struct.unpack_from("<HH", body, 14)
        width, height, alpha = (across & 0x3FFF) - 1, (down & 0x3FFF) - 1, False
    sizes = struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
    return b"VP8X" + struct.pack("<IB3x", 10, _WEBP_ALPHA if alpha else 0) + sizes
