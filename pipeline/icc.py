"""A colour profile made of what a PNG file says in its own chunks: a gamma, and where its primaries lie.

libvips passes over these chunks, and other formats have none; as a profile they mean the same to every viewer.

Source: W3C PNG third edition (2025), cHRM and gAMA; ICC.1:2001-04, sections 6.1, 6.3 and 6.5; adaptation to D50 by
Bradford's matrix, ICC.1:2022 annex E.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: x and y of white, red, green and blue.
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: The exponent that PNG files give for sRGB's curve.
SRGB_EXPONENT = 1 / 2.2
#: Writers round: what is nearer than this means sRGB.
_NEAR = 0.005

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How samples stand for light."""

    exponent: float = SRGB_EXPONENT  #: sample = light ** exponent
    chromaticities: tuple[float, ...] = SRGB_CHROMATICITIES

    @property
    def is_srgb(self) -> bool:
        here, there = (self.exponent, *self.chromaticities), (SRGB_EXPONENT, *SRGB_CHROMATICITIES)
        return bool(np.abs(np.subtract(here, there)).max() <= _NEAR)

    @property
    def is_possible(self) -> bool:
        """Whether a curve and a triangle of colours come of it."""
        x, y = np.array(self.chromaticities[0::2]), np.array(self.chromaticities[1::2])
        colours = np.stack([x, y, 1 - x - y])
        return 0.1 <= self.exponent <= 1 and bool(y.min() > 0) and abs(np.linalg.det(colours[:, 1:])) > _NEAR


def profile(encoding: Encoding, *, gray: bool) -> bytes:
    """An ICC profile for gray or RGB samples of this encoding, which must be possible."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 / encoding.exponent))
    if gray:
        return _profile(b"GRAY", {b"kTRC": curve})
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _primaries(encoding.chromaticities).T, strict=True):
        tags[name] = _xyz(xyz)
    return _profile(b"RGB ", tags)


def _primaries(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    """(3, 3): the XYZ of each primary in a column, adapted to D50."""
    x, y = np.array(chromaticities[0::2]), np.array(chromaticities[1::2])
    whole = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    white, primaries = whole[:, 0], whole[:, 1:]
    mixed = primaries * np.linalg.solve(primaries, white)
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.solve(_BRADFORD, gain[:, np.newaxis] * (_BRADFORD @ mixed))
    return adapted


def _xyz(xyz: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in xyz))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"From PNG chunks\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(_D50),
    } | tags
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">III", at + len(body), 0, 0x02400000) + b"mntr" + space + b"XYZ "
    # A fixed date: the same file gives the same bytes.
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
