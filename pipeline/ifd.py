"""Directories of tags, as TIFF files and EXIF blocks hold them: read and written, every value byte for byte.

libtiff, libexif and Pillow know tags by name and lose or re-encode the ones that they do not know; archives put their
own words into private tags, and UTF-8 where the standards ask for ASCII. So values are copied here, not understood.

Source: TIFF 6.0 (1992), section 2; BigTIFF as implemented by libtiff.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.scratch import Data

ByteOrder = Literal["<", ">"]  #: as ``struct`` writes it: little and big endian

SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16
BYTE = 1

#: Type → bytes of what is swapped between byte orders, and how many of these make one value.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 1), 4: (4, 1), 5: (4, 2), 6: (1, 1), 7: (1, 1), 8: (2, 1), 9: (4, 1)}
_TYPES |= {10: (4, 2), 11: (4, 1), 12: (8, 1), 13: (4, 1), 16: (8, 1), 17: (8, 1), 18: (8, 1)}

#: BigTIFF's types of 64 bits: the one of 32 bits that means the same, and how ``struct`` calls both.
_HALVES = {LONG8: (LONG, "Q", "I"), 17: (9, "q", "i"), 18: (13, "Q", "I")}

#: More tags than any real directory has: a damaged count cannot make us walk through a large file.
_MAX_TAGS = 4096
#: A larger value is no description: Photoshop's layers, for one, which show the picture as it was.
#: Values may lie upon each other, so the bound holds for what a directory's have beyond the block's own length, too.
_MAX_VALUE_BYTES = 1 << 20

_BIG = 43  #: the version number of BigTIFF; the classic one's is 42


class BadDirectory(Exception):
    """Raised when bytes that should be a directory of tags are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What one tag holds, in the byte order of the block that it was read from."""

    type: int
    data: bytes

    @property
    def count(self) -> int:
        size, parts = _TYPES[self.type]
        return len(self.data) // (size * parts)

    def swapped(self) -> Value:
        """The same value in the other byte order."""
        return Value(type=self.type, data=swapped(self.data, _TYPES[self.type][0]))


Tags = Mapping[int, Value]


def swapped(data: bytes, size: int) -> bytes:
    """Numbers of ``size`` bytes each in the other byte order; what is left over at the end stays as it is."""
    whole = len(data) - len(data) % size
    turned = bytearray(data)
    for place in range(size):
        turned[place:whole:size] = data[size - 1 - place : whole : size]
    return bytes(turned)


def number(tags: Tags, tag: int, order: ByteOrder) -> int | None:
    """The first number of a tag that holds whole numbers; None where it has none."""
    value = tags.get(tag)
    letter = {BYTE: "B", SHORT: "H", LONG: "I", 13: "I", LONG8: "Q", 18: "Q"}.get(value.type if value else 0)
    if value is None or letter is None or not value.data:
        return None
    return int(struct.unpack_from(order + letter, value.data)[0])


def fraction(tags: Tags, tag: int, order: ByteOrder) -> float | None:
    """The first fraction of a tag that holds some; None where it has none, or one by zero."""
    value = tags.get(tag)
    if value is None or value.type != RATIONAL or len(value.data) < 8:
        return None
    above, below = struct.unpack_from(order + "II", value.data)
    return above / below if below else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The tags of one directory, and where the next one lies."""

    tags: dict[int, Value]
    left_out: tuple[int, ...]  #: tags whose values are damaged or too large
    next: int  #: 0 = this was the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How wide and in which order the numbers of a block are."""

    order: ByteOrder
    big: bool = False  #: BigTIFF

    @classmethod
    def of(cls, block: Data) -> Layout:
        """What a block's first bytes announce.

        Raises:
            BadDirectory: it is neither a TIFF file nor an EXIF block.
        """
        order: ByteOrder | None = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))  # type: ignore[assignment]
        version = struct.unpack_from((order or "<") + "H", block, 2)[0] if len(block) >= 8 else 0
        if order is None or version not in {42, _BIG}:
            raise BadDirectory("no byte order and version number")
        return cls(order=order, big=version == _BIG)

    @property
    def _offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def _head(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def _entry(self) -> str:
        """Tag, type, count, value or its place."""
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def pointer_type(self) -> int:
        return LONG8 if self.big else LONG

    @property
    def inline_bytes(self) -> int:
        """How long a value may be to lie inside its entry."""
        return 8 if self.big else 4

    @property
    def first_at(self) -> int:
        """Where the place of the first directory is noted."""
        return 8 if self.big else 4

    def header(self) -> bytes:
        """The first bytes of a classic block whose first directory follows at once."""
        return (b"II" if self.order == "<" else b"MM") + struct.pack(self.order + "HI", 42, 8)

    def pointer(self, at: int) -> bytes:
        return struct.pack(self._offset, at)

    def first(self, block: Data) -> int:
        """Where the first directory lies.

        Raises:
            BadDirectory: the block is too short to say.
        """
        return self._unpack(self._offset, block, self.first_at)

    def raw_entries(self, block: Data, at: int) -> tuple[dict[int, bytes], int]:
        """Tag → entry as it lies there, values outside of it untouched; and where the next directory lies.

        Raises:
            BadDirectory: the directory does not lie within the block.
        """
        count = min(self._unpack(self._head, block, at), _MAX_TAGS)
        size, start = struct.calcsize(self._entry), at + struct.calcsize(self._head)
        rows = [block[start + i * size : start + (i + 1) * size] for i in range(count)]
        if rows and len(rows[-1]) < size:
            raise BadDirectory("the directory goes on behind the end")
        found = {struct.unpack_from(self.order + "H", row)[0]: bytes(row) for row in rows}
        return found, self.following(block, at)

    def following(self, block: Data, at: int) -> int:
        """Where the directory behind the one at ``at`` lies; 0 = there is none.

        Raises:
            BadDirectory: there is nothing at ``at``.
        """
        count = self._unpack(self._head, block, at)
        try:
            return self._unpack(
                self._offset, block, at + struct.calcsize(self._head) + count * struct.calcsize(self._entry)
            )
        except BadDirectory:
            return 0

    def read(self, block: Data, at: int) -> Directory:
        """The directory at a place; values that do not lie within the block are left out.

        Raises:
            BadDirectory: the directory itself does not.
        """
        rows, following = self.raw_entries(block, at)
        found: dict[int, Value | None] = {}
        left = len(block) + _MAX_VALUE_BYTES
        for tag, row in rows.items():
            value = self.value(block, row)
            found[tag] = value if value is not None and len(value.data) <= left else None
            left -= len(value.data) if value is not None else 0
        return Directory(
            tags={tag: value for tag, value in found.items() if value is not None},
            left_out=tuple(tag for tag, value in found.items() if value is None),
            next=following,
        )

    def value(self, block: Data, row: bytes) -> Value | None:
        """What an entry holds or points to; None if it is damaged or too large."""
        _, kind, count, inline = struct.unpack(self._entry, row)
        size, parts = _TYPES.get(kind, (0, 0))
        length = size * parts * count
        if length == 0 or length > _MAX_VALUE_BYTES:
            return None
        if length <= self.inline_bytes:
            return Value(type=kind, data=inline[:length])
        (at,) = struct.unpack(self._offset, inline)
        data = bytes(block[at : at + length])
        return Value(type=kind, data=data) if len(data) == length else None

    def encoded(self, tags: Tags, at: int, *, raw: Mapping[int, bytes] | None = None, following: int = 0) -> bytes:
        """A directory that begins at ``at`` (even), with its values behind it; ``raw`` entries go in as they are.

        Numbers of 64 bits are not written where only BigTIFF has such: as 32 bits where they fit, else not at all.
        """
        rows = dict(raw or {})
        tags = {tag: fitting for tag, value in tags.items() if (fitting := self._fitting(value)) is not None}
        size = struct.calcsize(self._entry)
        count = len(rows.keys() | tags.keys())
        behind = at + struct.calcsize(self._head) + count * size + struct.calcsize(self._offset)
        values = bytearray()
        for tag, value in tags.items():
            inline = value.data.ljust(self.inline_bytes, b"\0")
            if len(value.data) > self.inline_bytes:
                # Values begin at even places, by the standard.
                values += bytes((behind + len(values)) % 2)
                inline = self.pointer(behind + len(values))
                values += value.data
            rows[tag] = struct.pack(self._entry, tag, value.type, value.count, inline)
        body = b"".join(rows[tag] for tag in sorted(rows))
        return struct.pack(self._head, count) + body + self.pointer(following) + values + bytes(len(values) % 2)

    def _fitting(self, value: Value) -> Value | None:
        if self.big or value.type not in _HALVES:
            return value
        kind, wide, narrow = _HALVES[value.type]
        numbers = [number for (number,) in struct.iter_unpack(self.order + wide, value.data)]
        try:
            return Value(type=kind, data=struct.pack(f"{self.order}{len(numbers)}{narrow}", *numbers))
        except struct.error:
            return None

    def _unpack(self, form: str, block: Data, at: int) -> int:
        try:
            return int(struct.unpack_from(form, block, at)[0])
        # A place of 64 bits may be beyond what can be asked for.
        except (struct.error, OverflowError) as error:
            raise BadDirectory(f"there is nothing at {at}") from error
