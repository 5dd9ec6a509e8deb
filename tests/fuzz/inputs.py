"""The inputs: honest files of every kind, and what comes of them by lies, damage and hostile words."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pipeline import containers, icc, tiff, vips
from pipeline.containers import Words
from pipeline.exif import Exif
from pipeline.formats import Format
from pipeline.ifd import Value
from tests.fuzz.walk import carriers
from tests.hostile import liar, mutant
from tests.unit.pipeline import corpus

_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
#: What XMP packets are put together from, well-formed and not.
_XMP_PIECES = (
    b'<?xml version="1.0" encoding="%s"?>',
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>",
    b"</rdf:RDF>",
    b"<rdf:Description rdf:about=''",
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/"',
    b' xmlns:%s="http://ns.adobe.com/exif/1.0/"',
    b" tiff:Orientation='6'",
    b' Iptc4xmpExt:DigitalSourceType="x"',
    b"<tiff:Orientation>6</tiff:Orientation>",
    b"<tiff:ImageWidth>",
    b"<tiff:ImageWidth ",
    b"<a:DigitalSourceType ",
    b"</a:DigitalSourceType>",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"<!DOCTYPE a [<!ENTITY b 'cc'>]>",
    b"&b;",
    b"/>",
    b">",
    b'"',
    b" ",
    b"\0",
    b"<?xpacket end='w'?>",
)
_ENCODINGS = (b"utf-8", b"utf-16", b"latin-1", b"nosuch", b"gb18030", b"utf-7", b"hex", b"idna")
#: Tags that our readers look at, and some that nobody knows.
_TAGS = (0x0112, 0x011A, 0x011B, 0x0128, 0x8769, 0x8825, 0xA005, 0x9286, 0x02BC, 0x83BB, 0x8649, 0x010E, 0xC4A5, 0xFFFF)
_TYPES = (*range(14), 16, 17, 18, 129, 65535)


def seeds() -> list[bytes]:
    """Honest files: each format in each mode and depth, animations, pages, and files with all kinds of words."""
    honest = [make() for make in (corpus.LOSSLESS | corpus.LOSSY).values()]
    frames = [Image.fromarray(corpus.levels(8, 3, seed)) for seed in range(3)]
    moving = [corpus.saved(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in _ANIMATED]
    return [*honest, *moving, *_with_profiles(), *(wordy(random.Random(number)) for number in range(8))]


def _with_profiles() -> list[bytes]:
    """Colours of each kind with a profile of tables, of a matrix, and of a press."""
    matrix, gray = (icc.profile(icc.Encoding(exponent=0.5), gray=is_gray) for is_gray in (False, True))
    rgb = list(carriers())
    kinds = [(3, "srgb", vips.builtin_profile("p3"), rgb), (3, "srgb", matrix, rgb)]
    kinds += [(1, "b-w", gray, [Format.JPEG, Format.PNG, Format.TIFF])]
    kinds += [(4, "cmyk", vips.builtin_profile("cmyk"), [Format.JPEG, Format.TIFF])]
    found = []
    for channels, interpretation, profile, formats in kinds:
        pixels = vips.picture(np.ascontiguousarray(corpus.levels(8, channels)), interpretation)
        dressed = vips.dressed(pixels, profile=profile, resolution=(12, 12))
        found += [bytes(vips.save(dressed, kind)) for kind in formats]
    return found


class Inputs:
    """Endless inputs; the same seed, honest files and number give the same one."""

    def __init__(self, seed: int, honest: Sequence[bytes]) -> None:
        self._seed = seed
        self._honest = honest

    def __getitem__(self, number: int) -> bytes:
        dice = random.Random(f"{self._seed}/{number}")
        if number < len(self._honest):
            return self._honest[number]
        if dice.random() < 0.15:
            return wordy(dice)
        return changed(dice.choice(self._honest), dice)


def changed(data: bytes, dice: random.Random) -> bytes:
    """A lie, damage, or both."""
    ways: tuple[Callable[[bytes, random.Random], bytes], ...] = dice.choice(((liar,), (mutant,), (liar, mutant)))
    for way in ways:
        data = way(data, dice) if data else data
    return data


def wordy(dice: random.Random) -> bytes:
    """A tiny picture with words that may be anything."""
    kind = dice.choice(list(carriers()))
    carrier = carriers()[kind]
    exif = _exif(dice)
    iptc = dice.choice((None, b"\x1c\x02\x78\0\x04abcd", dice.randbytes(40)))
    if kind is Format.TIFF:
        tags = Exif(order="<", main=_tags(dice), exif=_tags(dice), gps=_tags(dice), interop=_tags(dice))
        return b"".join(bytes(piece) for piece in tiff.with_tags(carrier, tags, xmp=_xmp(dice), iptc=iptc))
    comments = (b"a comment",) if kind is Format.JPEG else (b"tEXtComment\0" + dice.randbytes(9),)
    words = Words(exif=exif, xmp=_xmp(dice)[:60_000], iptc=iptc, comments=comments)
    return b"".join(bytes(piece) for piece in containers.dressed(carrier, kind, words))


def _xmp(dice: random.Random) -> bytes:
    def filled(piece: bytes) -> bytes:
        return piece % dice.choice(_ENCODINGS) if b"%s" in piece else piece

    pieces = [filled(dice.choice(_XMP_PIECES)) * dice.choice((1, 1, 1, 1, 2, 500)) for _ in range(dice.randrange(30))]
    if dice.random() < 0.5:
        pieces = [b"<x xmlns:tiff='http://ns.adobe.com/tiff/1.0/'><![CDATA[", *pieces, b"]]></x>"]
    return b"".join(pieces)


def _tags(dice: random.Random) -> dict[int, Value]:
    def value() -> Value:
        return Value(type=dice.choice((1, 2, 3, 4, 5, 7, 10, 12)), data=dice.randbytes(8 * dice.choice((1, 1, 2, 900))))

    return {dice.choice((*_TAGS, dice.randrange(65536))): value() for _ in range(dice.randrange(12))}


def _exif(dice: random.Random) -> bytes:
    """A block of entries that point anywhere, to each other too."""
    order = dice.choice("<>")
    count = dice.choice((0, 1, 5, 20, 400))
    entries = b"".join(
        struct.pack(
            order + "HHII",
            dice.choice(_TAGS),
            dice.choice(_TYPES),
            dice.choice((1, 1, 2, 8, 4096, 2**20, 2**32 - 1)),
            dice.choice((0, 8, 10, 26, 4000, 2**32 - 1, dice.randrange(2**32))),
        )
        for _ in range(count)
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, dice.choice((8, 8, 8, 0, 2**31)))
    block = head + struct.pack(order + "H", dice.choice((count, count, 65535))) + entries + dice.randbytes(64)
    return block[:60_000]
