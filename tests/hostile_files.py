"""Files made by hand to be something else than they say, by name: each with how it may end in the sandbox."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from pipeline import containers, tiff
from pipeline.containers import Words
from pipeline.exif import Exif
from pipeline.formats import Format
from pipeline.ifd import LONG, Value
from tests.unit.pipeline import corpus
from tests.unit.pipeline.corpus import HEIGHT, WIDTH, png_chunk

MB = 1024**2
PICTURE = "picture"
TOO_LARGE, TRUNCATED, UNREADABLE = "image_too_large", "image_truncated", "image_unreadable"
UNSUPPORTED, NO_PAGE = "image_unsupported", "unsupported_option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One file, and its only right ends."""

    make: Callable[[], bytes]
    ends: frozenset[str]
    page: int = 1
    notice: str | None = None  #: what a picture of it must say
    like: Callable[[], bytes] | None = None  #: the honest file whose pixels a picture of it must have


def _named(make: Callable[[], bytes], *ends: str, page: int = 1, notice: str | None = None, like=None) -> Named:
    return Named(make=make, ends=frozenset(ends), page=page, notice=notice, like=like)


def _jpeg() -> bytes:
    return corpus.LOSSY["jpeg-rgb"]()


def _png() -> bytes:
    return corpus.LOSSLESS["png-rgb-8"]()


@functools.lru_cache(maxsize=2)
def zeros(size: int) -> bytes:
    """So many zeros, deflated a thousand times smaller."""
    deflate = zlib.compressobj(1)
    pieces = [deflate.compress(bytes(MB)) for _ in range(size // MB)]
    return b"".join([*pieces, deflate.compress(bytes(size % MB)), deflate.flush()])


# -- pages and frames


def tiff_pages(count: int, *, back_to: int | None = None) -> bytes:
    """Gray pages that share one strip; the last one leads to none, or back to one (0 = the first)."""
    rows = corpus.levels(8).tobytes()
    rows += bytes(len(rows) % 2)
    size, at = WIDTH * HEIGHT, 8 + len(rows)
    entries = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 3, HEIGHT), (279, 4, size)]
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    length = len(table) + 4
    last = 0 if back_to is None else at + back_to * length
    following = [at + (page + 1) * length for page in range(count - 1)] + [last]
    return struct.pack("<4sI", b"II*\0", at) + rows + b"".join(table + struct.pack("<I", place) for place in following)


def _gray() -> bytes:
    return tiff_pages(1)


def tiff_nested() -> bytes:
    """Subordinate directories that lead to themselves, to each other and to the first one."""
    carrier = corpus.LOSSLESS["tiff-rgb-8"]()
    (first,) = struct.unpack_from("<I", carrier, 4)
    itself = Value(type=LONG, data=struct.pack("<I", first))
    return b"".join(
        bytes(piece)
        for piece in tiff.with_tags(
            carrier,
            Exif(order="<", main={0x014A: itself}, exif={0x8769: itself, 0x8825: itself}, gps={0x8825: itself}),
            xmp=None,
            iptc=None,
        )
    )


def moving(kind: str) -> bytes:
    """An animation of three frames."""
    frames = [Image.fromarray(corpus.levels(8, 3, seed)) for seed in range(3)]
    return corpus.saved(frames[0], kind, save_all=True, append_images=frames[1:])


# -- sizes


def png_sized(width: int, height: int) -> bytes:
    whole = _png()
    return whole[:8] + png_chunk(b"IHDR", struct.pack(">II", width, height) + whole[24:29]) + whole[33:]


def jpeg_sized(width: int, height: int) -> bytes:
    whole = _jpeg()
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def gif_sized(width: int, height: int) -> bytes:
    """Of a canvas and a frame."""
    whole = bytearray(corpus.saved(Image.new("L", (40, 30), 99), "GIF"))
    struct.pack_into("<HH", whole, 6, width, height)
    struct.pack_into("<HH", whole, whole.index(b"\x2c\0\0\0\0") + 5, width, height)
    return bytes(whole)


def webp_sized(width: int, height: int) -> bytes:
    """Of a lossy picture, up to 16383 a side."""
    whole = bytearray(corpus.LOSSY["webp-lossy"]())
    struct.pack_into("<HH", whole, whole.index(b"\x9d\x01\x2a") + 3, width, height)
    return bytes(whole)


def avif_sized(width: int, height: int) -> bytes:
    """What the container says; the stream inside it goes on saying the truth."""
    whole = corpus.LOSSY["avif"]()
    at = whole.index(b"ispe") + 8
    return whole[:at] + struct.pack(">II", width, height) + whole[at + 8 :]


def tiff_sized(width: int, height: int) -> bytes:
    whole = bytearray(tiff_pages(1))
    (at,) = struct.unpack_from("<I", whole, 4)
    for entry, value in ((at + 2, width), (at + 14, height)):
        struct.pack_into("<HII", whole, entry + 2, 4, 1, value)
    return bytes(whole)


# -- words


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    whole = _png()
    return whole[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + whole[33:]


def _worded(kind: Format, words: Words) -> bytes:
    carrier = {Format.JPEG: _jpeg, Format.PNG: _png, Format.WEBP: corpus.LOSSLESS["webp-rgb"]}[kind]()
    return b"".join(bytes(piece) for piece in containers.dressed(carrier, kind, words))


def exif_of_one_value() -> bytes:
    """4096 tags that all point to the same megabyte: four gigabytes for who copies each."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + tag, 7, MB, 8) for tag in range(4096))
    place = 8 + MB
    return b"II*\0" + struct.pack("<I", place) + bytes(MB) + struct.pack("<H", 4096) + entries + bytes(4)


def exif_of_many_values() -> bytes:
    """4000 tags of 2 KB, none of which fits into a JPEG file."""
    values = {0x9000 + tag: Value(type=7, data=bytes(2000)) for tag in range(4000)}
    return Exif(order="<", main=values).block()


_XMP = b"<x xmlns:tiff='http://ns.adobe.com/tiff/1.0/'><![CDATA[%s]]></x>"


def xmp_that_never_closes() -> bytes:
    return _XMP % (b"<tiff:ImageWidth>" * 60_000)


def xmp_of_spaces() -> bytes:
    return _XMP % (b" " * MB)


# -- kinds of JPEG


def jpeg_lossless() -> bytes:
    """ITU-T T.81 annex H: each sample's difference to its left neighbour, its length in Huffman codes of four bits."""
    values = corpus.levels(8).astype(int)
    bits = []
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            before = row[x - 1] if x else values[y - 1, 0] if y else 128
            bits.append(_huffman(int(value - before)))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    table = b"\0" + bytes([0, 0, 0, 9, *[0] * 12]) + bytes(range(9))
    frame = struct.pack(">BHHB", 8, HEIGHT, WIDTH, 1) + b"\x01\x11\0"
    parts = ((0xC3, frame), (0xC4, table), (0xDA, b"\x01\x01\0\x01\0\0"))
    head = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in parts)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def _huffman(difference: int) -> str:
    length = abs(difference).bit_length()
    rest = difference if difference > 0 else difference + 2**length - 1
    return f"{length:04b}" + (f"{rest:0{length}b}" if length else "")


def jpeg_frame(marker: int, *, bits: int = 8) -> bytes:
    """As of another kind than it is."""
    whole = bytearray(_jpeg())
    at = whole.index(b"\xff\xc0")
    whole[at + 1], whole[at + 4] = marker, bits
    return bytes(whole)


def jpeg_cmyk(transform: int | None) -> bytes:
    """CMYK with another word of Adobe's about its colours, or with none."""
    whole = bytearray(corpus.LOSSY["jpeg-cmyk"]())
    at = whole.index(b"Adobe")
    if transform is None:
        whole[at : at + 5] = b"Xdobe"
    else:
        whole[at + 11] = transform
    return bytes(whole)


# -- two in one


def gif_and_script() -> bytes:
    """A comment in JavaScript from its canvas' width on, which is 10,799 px by that; and a script behind it."""
    whole = corpus.saved(Image.new("L", (40, 30), 99), "GIF")
    return b"GIF89a/*" + whole[8:] + b"*/=1;alert(1)"


def jpeg_and_page() -> bytes:
    """A web page and a PDF file in a comment, and an archive at the end."""
    whole = _jpeg()
    comment = b"<html><script>alert(1)</script>%PDF-1.7 1 0 obj<<>>endobj"
    at = whole.index(b"\xff\xdb")
    return whole[:at] + struct.pack(">BBH", 0xFF, 0xFE, 2 + len(comment)) + comment + whole[at:] + _ZIP


_ZIP = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)

BACK = (TRUNCATED, UNREADABLE)
NAMED: dict[str, Named] = {
    "TIFF of 10,000 pages": _named(lambda: tiff_pages(10_000), PICTURE, notice="first_page_only", like=_gray),
    "its last page": _named(lambda: tiff_pages(10_000), PICTURE, page=10_000, like=_gray),
    "the one behind its last": _named(lambda: tiff_pages(10_000), NO_PAGE, page=10_001),
    "TIFF whose page leads to itself": _named(lambda: tiff_pages(1, back_to=0), PICTURE, like=_gray),
    "TIFF whose pages are a ring": _named(lambda: tiff_pages(3, back_to=1), PICTURE, page=3, like=_gray),
    "a page beyond a ring": _named(lambda: tiff_pages(3, back_to=1), NO_PAGE, page=4),
    "TIFF of nested directories": _named(tiff_nested, PICTURE, like=corpus.LOSSLESS["tiff-rgb-8"]),
    "animated PNG": _named(lambda: moving("PNG"), PICTURE, notice="first_page_only"),
    "animated WebP": _named(lambda: moving("WEBP"), PICTURE, notice="first_page_only"),
    "animated GIF": _named(lambda: moving("GIF"), PICTURE, notice="first_page_only"),
    "AVIF sequence": _named(lambda: moving("AVIF"), PICTURE, notice="first_page_only"),
    "frame 2 of an animated PNG": _named(lambda: moving("PNG"), NO_PAGE, page=2),
    "frame 4 of 3": _named(lambda: moving("WEBP"), NO_PAGE, page=4),
    **{f"AVIF that says {w} x {h}": _named(functools.partial(avif_sized, w, h), TRUNCATED)
       for w, h in ((0, 0), (1, 1), (WIDTH - 1, HEIGHT), (WIDTH + 1, HEIGHT + 1), (4000, 3000), (2**31 - 1,) * 2)},
    "AVIF that says 400 megapixels": _named(lambda: avif_sized(20_000, 20_000), TOO_LARGE),
    **{f"{name} of 0 x {height}": _named(functools.partial(make, 0, height), *BACK)
       for height in (0, 20)
       for name, make in (("PNG", png_sized), ("JPEG", jpeg_sized), ("GIF", gif_sized), ("WebP", webp_sized),
                          ("TIFF", tiff_sized))},
    "JPEG without a height": _named(lambda: jpeg_sized(WIDTH, 0), TRUNCATED),
    "PNG of a line of 2^31 px": _named(lambda: png_sized(2**31 - 1, 1), TOO_LARGE, TRUNCATED),
    "PNG of a column of 200 million px": _named(lambda: png_sized(1, 200_000_000), TRUNCATED),
    "JPEG of 65,500 x 65,500": _named(lambda: jpeg_sized(65_500, 65_500), TOO_LARGE),
    "GIF of 65,535 x 65,535": _named(lambda: gif_sized(65_535, 65_535), TOO_LARGE),
    "WebP of 16,383 x 16,383": _named(lambda: webp_sized(16_383, 16_383), TOO_LARGE, TRUNCATED),
    "TIFF of 2^32 x 1": _named(lambda: tiff_sized(2**32 - 1, 1), TOO_LARGE, TRUNCATED),
    "PNG with 200 MB of XMP": _named(
        lambda: png_with((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(200 * MB))), PICTURE, TRUNCATED, like=_png),
    "PNG with 200 MB of text": _named(
        lambda: png_with((b"zTXt", b"Comment\0\0" + zeros(200 * MB))), PICTURE, notice="metadata_left_out", like=_png),
    "PNG with 50 texts of 20 MB": _named(
        lambda: png_with(*[(b"zTXt", b"Comment\0\0" + zeros(20 * MB))] * 50), PICTURE, TRUNCATED, like=_png),
    "PNG with 200 MB of captions": _named(
        lambda: png_with((b"zTXt", b"Raw profile type iptc\0\0" + zeros(200 * MB))), PICTURE, TRUNCATED, like=_png),
    "PNG with a profile of 200 MB": _named(
        lambda: png_with((b"iCCP", b"p\0\0" + zeros(200 * MB))), PICTURE, TRUNCATED, like=_png),
    "PNG whose tags are one megabyte 4,096 times": _named(
        lambda: _worded(Format.PNG, Words(exif=exif_of_one_value())), PICTURE, like=_png),
    "WebP whose tags are one megabyte 4,096 times": _named(
        lambda: _worded(Format.WEBP, Words(exif=exif_of_one_value())), PICTURE, like=corpus.LOSSLESS["webp-rgb"]),
    "PNG with 8 MB of tags": _named(lambda: _worded(Format.PNG, Words(exif=exif_of_many_values())), PICTURE, like=_png),
    "PNG with a megabyte of elements that never close": _named(
        lambda: _worded(Format.PNG, Words(xmp=xmp_that_never_closes())), PICTURE, like=_png),
    "PNG with a megabyte of spaces for XMP": _named(
        lambda: _worded(Format.PNG, Words(xmp=xmp_of_spaces())), PICTURE, like=_png),
    "lossless JPEG": _named(jpeg_lossless, PICTURE, UNSUPPORTED, like=_gray),
    "JPEG of 12 bits": _named(lambda: jpeg_frame(0xC1, bits=12), UNSUPPORTED),
    "hierarchical JPEG": _named(lambda: jpeg_frame(0xC5), UNSUPPORTED),
    "JPEG that says that it is lossless": _named(lambda: jpeg_frame(0xC3), TRUNCATED),
    "JPEG that says that it is progressive": _named(lambda: jpeg_frame(0xC2), TRUNCATED),
    **{f"CMYK JPEG with Adobe's word {word}": _named(
        functools.partial(jpeg_cmyk, word), PICTURE, notice="cmyk_without_profile") for word in (None, 0, 1, 2, 3)},
    "GIF and script": _named(gif_and_script, PICTURE, *BACK),
    "JPEG, web page, PDF and archive": _named(jpeg_and_page, PICTURE, like=_jpeg),
    "PNG and archive": _named(lambda: _png() + _ZIP, PICTURE, like=_png),
    "JPEG behind a JPEG": _named(lambda: _jpeg() + corpus.LOSSY["jpeg-gray"](), PICTURE, like=_jpeg),
    "archive and JPEG": _named(lambda: _ZIP + _jpeg(), UNREADABLE),
    "PDF and JPEG": _named(lambda: b"%PDF-1.7\n" + _jpeg(), UNREADABLE),
    "web page and PNG": _named(lambda: b"<html>" + _png(), UNREADABLE),
    "SVG": _named(lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", UNREADABLE),
    "PostScript": _named(lambda: b"%!PS\nshowpage", UNREADABLE),
    "ImageMagick's script": _named(lambda: b"push graphic-context\nfill 'url(https://example.com/)'\n", UNREADABLE),
}  # fmt: skip
