"""Colour spaces: a file's own samples to the working sRGB, and changes made there back to the file's own space.

Pixels that nobody changed are never converted: ``carry`` adds the *difference* that a change makes in the file's
space to the file's own samples.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import vips
from pipeline.types import FloatImage

Plane = NDArray[np.float32]

#: Rec. 709 weights, applied to encoded values: for equal channels it gives exactly their value's neighbourhood.
_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)

#: A profile whose transform moves no value further than this is sRGB by another name.
_SAME_AS_SRGB = 1 / 255

#: How far (sRGB, of 1) inks may miss the colour that they should show: what a viewer hardly sees.
_MISSED = 4 / 255

#: Pixels that one ICC call converts; bounds its float copies to some 50 MB.
_CHUNK = 1 << 20


class Kind(StrEnum):
    """What the colour channels mean."""

    GRAY = "gray"
    RGB = "rgb"
    CMYK = "cmyk"

    @property
    def bands(self) -> int:
        return {Kind.GRAY: 1, Kind.RGB: 3, Kind.CMYK: 4}[self]

    def interpretation(self, depth: int) -> str:
        """Libvips' name for these channels."""
        return {
            Kind.GRAY: {8: "b-w", 16: "grey16"},
            Kind.RGB: {8: "srgb", 16: "rgb16"},
            Kind.CMYK: {8: "cmyk", 16: "cmyk"},
        }[self][depth]


_ICC_SPACES = {Kind.GRAY: b"GRAY", Kind.RGB: b"RGB ", Kind.CMYK: b"CMYK"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourSpace:
    """The space of a file's samples."""

    kind: Kind
    profile: bytes | None = None  #: ICC; None = sRGB, its gray, or for CMYK a generic press profile

    @property
    def is_plain(self) -> bool:
        """Whether encoded values are sRGB's own, so that no transform is needed."""
        if self.kind is Kind.CMYK:
            return False
        return self.profile is None or _is_srgb(self.kind, self.profile)

    @property
    def is_one_way(self) -> bool:
        """Whether the profile leads to sRGB but not back, as many scanners' do."""
        return not self.is_plain and not _leads_back(self.transform_profile)

    @property
    def transform_profile(self) -> bytes:
        """What to convert to sRGB by; asked only where ``is_plain`` is false."""
        return self.profile if self.profile is not None else vips.builtin_profile("cmyk")

    @property
    def return_profile(self) -> bytes:
        """What to convert from sRGB by; a press profile without a way back gets the generic one's."""
        return vips.builtin_profile("cmyk") if self.is_one_way else self.transform_profile


SRGB = ColourSpace(kind=Kind.RGB)


def profile_fits(kind: Kind, profile: bytes) -> bool:
    """Whether an embedded profile is a profile at all and speaks of these channels (libvips would silently guess)."""
    if len(profile) < 128 or profile[36:40] != b"acsp" or profile[16:20] != _ICC_SPACES[kind]:
        return False
    try:
        _convert_probe(kind, profile)
    except vips.VipsFailed:
        return False
    # What libvips cannot parse, it silently takes for sRGB; only the way back then fails.
    return kind is Kind.CMYK or not _is_srgb(kind, profile) or _leads_back(profile)


@functools.lru_cache(maxsize=64)
def _leads_back(profile: bytes) -> bool:
    try:
        vips.from_srgb(vips.picture(_probe(Kind.RGB), Kind.RGB.interpretation(16)), profile)
    except vips.VipsFailed:
        return False
    return True


@functools.lru_cache(maxsize=64)
def _is_srgb(kind: Kind, profile: bytes) -> bool:
    probe = _probe(kind)
    wanted = np.broadcast_to(probe, (1, probe.shape[1], 3)).astype(np.float32) / 65535
    return bool(np.abs(_convert_probe(kind, profile) - wanted).max() <= _SAME_AS_SRGB)


def _probe(kind: Kind) -> NDArray[np.uint16]:
    """(1, N, C): a lattice over all channels, N = 9 ** C."""
    axis = np.linspace(0, 65535, 9).astype(np.uint16)
    lattice = np.stack(np.meshgrid(*[axis] * kind.bands, indexing="ij"), axis=-1)
    return lattice.reshape(1, -1, kind.bands)


def _convert_probe(kind: Kind, profile: bytes) -> Plane:
    picture = vips.picture(_probe(kind), kind.interpretation(16))
    return vips.to_srgb(picture, profile).astype(np.float32) / np.float32(65535)


def unit(samples: NDArray[Any]) -> NDArray[np.float32]:
    """uint8 or uint16 samples of any shape as float32 in [0, 1]."""
    return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


def to_srgb(samples: NDArray[Any], space: ColourSpace) -> NDArray[np.uint16]:
    """(H, W, C) uint8 or uint16 of a space that is not plain → (H, W, 3) uint16 sRGB."""
    picture = vips.picture(samples, space.kind.interpretation(samples.dtype.itemsize * 8))
    return vips.to_srgb(picture, space.transform_profile)


def carry(base: Plane, before: FloatImage, after: FloatImage, space: ColourSpace) -> NDArray[np.bool_]:
    """Add to ``base``, in place, what the change from ``before`` to ``after`` means in ``space``.

    Args:
        base: (H, W, C) float32, the source's own samples in [0, 1] at the final size; written to.
        before: (H, W, 3) the same pixels in working sRGB.
        after: (H, W, 3) what they became.
        space: of ``base``.

    Returns:
        (H, W), where the working pixels differ at all.
    """
    changed: NDArray[np.bool_] = np.any(before != after, axis=-1)
    rows, columns = np.nonzero(changed)
    for start in range(0, len(rows), _CHUNK):
        at = (rows[start : start + _CHUNK], columns[start : start + _CHUNK])
        moved = base[at] + _difference(before[at], after[at], space)
        base[at] = _pressed(moved, after[at], space) if space.kind is Kind.CMYK else moved
    return changed


def _pressed(moved: Plane, wanted: Plane, space: ColourSpace) -> Plane:
    """(N, 4) inks, and the (N, 3) sRGB that they should show → (N, 4): where they miss, the wanted colour's own inks.

    One colour can be printed with much black or with little. A source that shares it out otherwise than its profile
    does has not always the ink that a change takes away.
    """
    inks = np.clip(moved, 0, 1)
    own = _in_space(wanted, space)
    missed, own_missed = (np.abs(_shown(each, space) - wanted).max(axis=-1) for each in (inks, own))
    better = (missed > _MISSED) & (own_missed < missed)
    return np.where(better[:, np.newaxis], own, inks)


def _shown(inks: Plane, space: ColourSpace) -> Plane:
    """(N, 4) → (N, 3) working sRGB."""
    fine = np.rint(inks[np.newaxis] * 65535).astype(np.uint16)
    shown: Plane = to_srgb(fine, space)[0].astype(np.float32) / np.float32(65535)
    return shown


def _difference(before: Plane, after: Plane, space: ColourSpace) -> Plane:
    """(N, 3) twice → (N, C).

    Without a way back, sRGB's own difference stands in: device values of scanners are encoded much alike.
    """
    if space.is_plain or (space.is_one_way and space.kind is not Kind.CMYK):
        delta = after - before
        return delta if space.kind is Kind.RGB else _luma(delta)
    return _in_space(after, space) - _in_space(before, space)


def _luma(colours: Plane) -> Plane:
    """(N, 3) → (N, 1)."""
    weighed: Plane = np.sum(colours * _LUMA, axis=-1, keepdims=True, dtype=np.float32)
    return weighed


def _in_space(colours: Plane, space: ColourSpace) -> Plane:
    """(N, 3) working sRGB → (N, C) of the space, in [0, 1]."""
    fine = np.rint(colours[None] * 65535).astype(np.uint16)
    picture = vips.picture(fine, Kind.RGB.interpretation(16))
    converted: Plane = vips.from_srgb(picture, space.return_profile)[0].astype(np.float32) / np.float32(65535)
    return converted
