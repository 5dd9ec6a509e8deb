"""What a camera, a scanner or an archivist wrote about a picture: EXIF, as a block or as tags of a TIFF file.

libvips drops every EXIF tag when it reads or writes a TIFF file, and of other files' EXIF what libexif does not know;
so the tags are carried by us. Only what the restoration makes untrue is changed: orientation, sizes, resolution,
thumbnails. A camera's private note stays as it is, though some cameras' notes hold offsets that a move makes void.

Source: EXIF 2.32 (CIPA DC-008-2019), section 4.6; TIFF 6.0; TIFF Technical Note 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from pipeline.ifd import LONG, RATIONAL, SHORT, BadDirectory, ByteOrder, Layout, Tags, Value, fraction, number, swapped

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH, _CENTIMETRE = 2, 3
_EXIF, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_USER_COMMENT = 0x9286

#: Tags that say how samples are stored, not what they show, or whose content is carried elsewhere or becomes untrue.
_STRUCTURE = frozenset(
    {
        *range(254, 267),  # kind of page, sizes, depth, compression, photometric, fill order
        *range(273, 274 + 1),  # strips, orientation
        *range(277, 284 + 1),  # samples, strips, least and largest sample, resolution, planes
        *range(288, 293 + 1),  # free space, gray response, fax options
        296,  # resolution unit
        301,  # transfer function
        *range(317, 328 + 1),  # predictor, white point, primaries, palette, halftones, tiles, fax faults
        330,  # subordinate directories
        *range(332, 334 + 1),  # inks
        336,  # dot range
        *range(338, 347 + 1),  # extra samples, sample format and range, clipping path, JPEG tables
        *range(512, 532 + 1),  # JPEG, YCbCr, black and white reference
        559,  # rows of each strip
        700,  # XMP
        *range(32995, 32998 + 1),  # matteing, data type, depth, tile depth
        *range(33421, 33422 + 1),  # colour filter
        33723,  # IPTC
        34377,  # Photoshop's resources: a thumbnail, IPTC again, the resolution again
        _EXIF,
        _GPS,
        34675,  # ICC
        37724,  # Photoshop's layers
        _INTEROP,
    }
)

_FRAME = b"Exif\0\0"
_MM_PER_INCH = 25.4
#: Resolutions are written as so many-th of a pixel.
_PARTS = 1000
#: Of one tag in a block: its number, type, count, and value or place.
_ENTRY_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Exif:
    """The four directories; values in ``order``. Of the main one only what describes the picture."""

    order: ByteOrder
    main: dict[int, Value] = field(default_factory=dict)
    exif: dict[int, Value] = field(default_factory=dict)
    gps: dict[int, Value] = field(default_factory=dict)
    interop: dict[int, Value] = field(default_factory=dict)
    resolution: tuple[float, float] | None = None  #: pixels per mm, x and y
    left_out: tuple[int, ...] = ()  #: tags that could not be read

    def __bool__(self) -> bool:
        return any((self.main, self.exif, self.gps, self.interop))

    def made_true(self, width: int, height: int, resolution: tuple[float, float] | None) -> Exif:
        """The tags of an upright picture of this size (px) and resolution (px per mm; None = not told)."""
        main = dict(self.main)
        main[ORIENTATION] = self._numbers(SHORT, 1)
        if resolution is not None:
            for tag, per_mm in zip((_X_RESOLUTION, _Y_RESOLUTION), resolution, strict=True):
                main[tag] = self._numbers(RATIONAL, round(per_mm * _MM_PER_INCH * _PARTS), _PARTS)
            main[_RESOLUTION_UNIT] = self._numbers(SHORT, _INCH)
        exif = dict(self.exif)
        if exif:
            exif |= {_PIXEL_WIDTH: self._numbers(LONG, width), _PIXEL_HEIGHT: self._numbers(LONG, height)}
        return replace(self, main=main, exif=exif)

    def within(self, most_bytes: int) -> tuple[Exif, tuple[int, ...]]:
        """The tags whose block has at most so many bytes, and those that were left out for it: the largest ones."""
        kept, gone = self, list[int]()
        while (excess := len(kept.block()) - most_bytes) > 0 and kept:
            kept, more = kept._without_largest(excess)
            gone += more
        return kept, tuple(gone)

    def _without_largest(self, freed: int) -> tuple[Exif, list[int]]:
        """Without as many of the largest values as free so many bytes, or without any value."""
        inline = Layout(order=self.order).inline_bytes
        sizes = [
            (len(value.data) if len(value.data) > inline else 0, name, tag)
            for name in ("main", "exif", "gps", "interop")
            for tag, value in getattr(self, name).items()
        ]
        gone: dict[str, set[int]] = {"main": set(), "exif": set(), "gps": set(), "interop": set()}
        for size, name, tag in sorted(sizes, reverse=True):
            if freed <= 0:
                break
            gone[name].add(tag)
            freed -= size + _ENTRY_BYTES
        left: dict[str, dict[int, Value]] = {
            name: {tag: value for tag, value in getattr(self, name).items() if tag not in tags}
            for name, tags in gone.items()
        }
        return replace(self, **left), sorted(tag for tags in gone.values() for tag in tags)  # type: ignore[arg-type]

    def in_order(self, order: ByteOrder) -> Exif:
        """The same tags with every number in this byte order."""
        if order == self.order:
            return self
        main, exif, gps, interop = (
            {tag: _swapped(tag, value) for tag, value in tags.items()}
            for tags in (self.main, self.exif, self.gps, self.interop)
        )
        return replace(self, order=order, main=main, exif=exif, gps=gps, interop=interop)

    def block(self) -> bytes:
        """As JPEG, PNG and WebP hold it, without the frame that JPEG puts before it."""
        layout = Layout(order=self.order)
        header = layout.header()
        # The main directory is as long with its pointers not yet known as with them.
        length = len(layout.encoded(self._pointing(layout, {_EXIF: 0, _GPS: 0}), len(header)))
        behind, places = self.subordinates(layout, len(header) + length)
        return header + layout.encoded(self._pointing(layout, places), len(header)) + behind

    def subordinates(self, layout: Layout, at: int) -> tuple[bytes, dict[int, int]]:
        """The other directories, to lie from ``at`` on; and pointing tag → place."""
        body, places, exif = b"", {}, dict(self.exif)
        if self.interop:
            exif[_INTEROP] = Value(type=layout.pointer_type, data=layout.pointer(at))
            body += layout.encoded(self.interop, at)
        for pointer, tags in ((_EXIF, exif), (_GPS, self.gps)):
            if tags:
                places[pointer] = at + len(body)
                body += layout.encoded(tags, at + len(body))
        return body, places

    def _pointing(self, layout: Layout, places: dict[int, int]) -> dict[int, Value]:
        present = {_EXIF: bool(self.exif or self.interop), _GPS: bool(self.gps)}
        pointers = {
            tag: Value(type=layout.pointer_type, data=layout.pointer(at)) for tag, at in places.items() if present[tag]
        }
        return {**self.main, **pointers}

    def _numbers(self, kind: int, *numbers: int) -> Value:
        letter = "H" if kind == SHORT else "I"
        return Value(type=kind, data=struct.pack(f"{self.order}{len(numbers)}{letter}", *numbers))


def from_block(block: bytes) -> Exif:
    """The tags of an EXIF block, with or without JPEG's frame; what follows the first directory is a thumbnail's.

    Raises:
        BadDirectory: it is no EXIF block.
    """
    bare = block.removeprefix(_FRAME)
    layout = Layout.of(bare)
    return _gathered(bare, layout.first(bare), layout)


def from_tiff(data: bytes, page: int) -> Exif:
    """What the directory of a TIFF file's page (1 = first) tells beside its structure.

    Raises:
        BadDirectory: the directory cannot be read.
    """
    layout = Layout.of(data)
    return _gathered(data, directory_of(data, page, layout), layout)


def directory_of(data: bytes, page: int, layout: Layout) -> int:
    """Where a page's directory lies.

    Raises:
        BadDirectory: there is no such page.
    """
    at = layout.first(data)
    for _ in range(page - 1):
        at = layout.following(data, at)
        if at == 0:
            raise BadDirectory(f"there is no page {page}")
    return at


def _gathered(data: bytes, at: int, layout: Layout) -> Exif:
    found = layout.read(data, at)
    exif, gps = (_subordinate(data, found.tags, tag, layout) for tag in (_EXIF, _GPS))
    interop = _subordinate(data, exif, _INTEROP, layout)
    return Exif(
        order=layout.order,
        main={tag: value for tag, value in found.tags.items() if tag not in _STRUCTURE},
        exif={tag: value for tag, value in exif.items() if tag != _INTEROP},
        gps=gps,
        interop=interop,
        resolution=_resolution(found.tags, layout.order),
        left_out=tuple(tag for tag in found.left_out if tag not in _STRUCTURE),
    )


def _subordinate(data: bytes, tags: Tags, pointer: int, layout: Layout) -> dict[int, Value]:
    at = number(tags, pointer, layout.order)
    if not at:
        return {}
    try:
        return layout.read(data, at).tags
    except BadDirectory:
        return {}


def _resolution(tags: Tags, order: ByteOrder) -> tuple[float, float] | None:
    """Pixels per mm, where the tags tell both of them and their unit."""
    mm = {_INCH: _MM_PER_INCH, _CENTIMETRE: 10.0}.get(number(tags, _RESOLUTION_UNIT, order) or _INCH)
    x, y = (fraction(tags, tag, order) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return (x / mm, y / mm) if x and y and mm else None


def _swapped(tag: int, value: Value) -> Value:
    """A value in the other byte order; a comment in UTF-16 follows its block's, though its type says "bytes"."""
    head = b"UNICODE\0"
    if tag == _USER_COMMENT and value.data.startswith(head):
        return replace(value, data=head + swapped(value.data[len(head) :], 2))
    return value.swapped()
