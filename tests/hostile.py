"""Files that lie about themselves: honest ones with a number of their structure made extreme, or two files in one."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

#: Sizes, counts and offsets that break a careless reader.
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
#: What a file may begin or go on with, and be something else to another reader.
_OTHERS = (
    b"PK\x03\x04" + bytes(26),
    b"<html><script>alert(1)</script>",
    b"%PDF-1.7\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"push graphic-context\nfill 'url(https://example.com/)'\n",
    b"\xff\xd8\xff\xe0",
    b"II*\0\x08\0\0\0",
)
#: At most so many places of one file.
_MOST_PLACES = 4096


def places(data: bytes) -> list[tuple[int, int, str]]:
    """Where a file's own numbers are: (offset, length in bytes, byte order as of ``struct``)."""
    if data[:4] == b"\x89PNG":
        found = _of_png(data)
    elif data[:2] == b"\xff\xd8":
        found = _of_jpeg(data)
    elif data[:2] in {b"II", b"MM"}:
        found = _of_tiff(data)
    elif data[:4] == b"RIFF":
        found = _of_riff(data)
    else:
        found = ((at, 4, ">") for at in range(0, min(len(data) - 4, 400), 4))
    return [place for place, _ in zip(found, range(_MOST_PLACES), strict=False)]


def liar(data: bytes, dice: random.Random) -> bytes:
    """The file with one to three lies."""
    changed = bytearray(data)
    where = places(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        if not where or dice.random() < 0.15:
            return _in_two(bytes(changed), dice)
        at, length, order = dice.choice(where)
        value = dice.choice((*_EXTREMES, len(data), at, dice.randrange(2**32))) % 256**length
        changed[at : at + length] = value.to_bytes(length, "little" if order == "<" else "big")
    return _checked_again(bytes(changed)) if data[:4] == b"\x89PNG" else bytes(changed)


def mutant(data: bytes, dice: random.Random) -> bytes:
    """The file with one kind of damage: bytes changed, a number made extreme, a piece lost, doubled or moved."""
    changed = bytearray(data)
    at = dice.randrange(len(changed))
    kind = dice.randrange(5)
    if kind == 0:
        for _ in range(dice.choice([1, 3, 30])):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
    elif kind == 1:
        width = dice.choice([1, 2, 4])
        changed[at : at + width] = dice.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * width
    elif kind == 2:
        del changed[at : at + dice.choice([1, 16, len(data) // 4])]
    elif kind == 3:
        changed[at:at] = changed[at : at + dice.choice([1, 16, len(data) // 4])]
    else:
        # Where sizes and counts are.
        changed[dice.randrange(min(64, len(changed)))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _in_two(data: bytes, dice: random.Random) -> bytes:
    other = dice.choice(_OTHERS)
    at = dice.choice((0, len(data), dice.randrange(len(data) + 1)))
    return data[:at] + other + data[at:]


def _of_png(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield at, 4, ">"
        yield at + 4, 4, ">"
        yield from ((at + 8 + i, 4, ">") for i in range(0, min(size, 16), 4))
        at += 12 + size


def _of_jpeg(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        (size,) = struct.unpack_from(">H", data, at + 2)
        yield at + 1, 1, ">"
        yield at + 2, 2, ">"
        yield from ((at + 4 + i, 2, ">") for i in range(0, min(size, 64), 2))
        at += 2 + size


def _of_tiff(data: bytes) -> Iterator[tuple[int, int, str]]:
    order = "<" if data[:2] == b"II" else ">"
    yield 2, 2, order
    yield 4, 4, order
    (at,) = struct.unpack_from(order + "I", data, 4)
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from(order + "H", data, at)
    yield at, 2, order
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 12), 12):
        yield from ((entry, 2, order), (entry + 2, 2, order), (entry + 4, 4, order), (entry + 8, 4, order))
    yield at + 2 + 12 * count, 4, order


def _of_riff(data: bytes) -> Iterator[tuple[int, int, str]]:
    yield 4, 4, "<"
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield at, 4, "<"
        yield at + 4, 4, "<"
        yield from ((at + 8 + i, 2, "<") for i in range(0, min(size, 16), 2))
        at += 8 + size + size % 2


def _checked_again(png: bytes) -> bytes:
    """With checksums that are right, so that a reader looks at what was changed."""
    whole, at = bytearray(png), 8
    while at + 12 <= len(whole):
        (size,) = struct.unpack_from(">I", whole, at)
        end = at + 8 + size
        if end + 4 > len(whole):
            break
        struct.pack_into(">I", whole, end, zlib.crc32(whole[at + 4 : end]))
        at = end + 4
    return bytes(whole)
