"""libvips behind a small port: the only file that imports pyvips, and the only one that sees its errors.

Loaders are blocked but for the four formats that we read, so that no byte pattern can reach another decoder of
libvips (PDF, SVG, ImageMagick, …). Convention: sample arrays are (H, W, C) uint8 or uint16, C-contiguous.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

Samples = NDArray[Any]  #: (H, W, C) uint8 or uint16

#: What each format's operations are called in libvips.
_NAMES = {"jpeg": "jpeg", "png": "png", "tiff": "tiff", "webp": "webp"}

#: libvips warns about every oddity of a file; whoever runs us may turn this logger on.
logging.getLogger("pyvips").addHandler(logging.NullHandler())


def _harden() -> None:
    """Only hardened loaders, and only ours; no cache, since no picture is read twice and pixels are large."""
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in ("Jpeg", "Png", "Tiff", "Webp"):
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)
    pyvips.cache_set_max(0)


_harden()


class VipsFailed(Exception):
    """Raised when libvips refuses; carries its own words, which are for operators only."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        raise VipsFailed(" ".join(str(error).split())) from error


def version() -> str:
    """Libvips' version."""
    return ".".join(str(pyvips.version(i)) for i in range(3))


def open_picture(data: bytes, format_name: str, *, forgiving: bool = True) -> pyvips.Image:
    """A picture whose header has been read and whose pixels have not.

    ``fail_on=error``: a truncated file, a wrong checksum or an undecodable strip is an error later, when pixels are
    asked for, instead of gray pixels. Not ``forgiving``: so is whatever the decoder only warns of.

    Raises:
        VipsFailed: the header cannot be read.
    """
    load = getattr(pyvips.Image, f"{_NAMES[format_name]}load_buffer")
    with _translated():
        return load(data, access="sequential", fail_on="error" if forgiving else "warning")


def field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """A header field's value, or the default where the file has none."""
    return image.get(name) if image.get_typeof(name) != 0 else default


def samples(image: pyvips.Image) -> Samples:
    """Decode: every sample of the picture.

    Raises:
        VipsFailed: the file is damaged or ends too soon.
    """
    with _translated():
        pixels = np.asarray(image.numpy())
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[:, :, None])


def picture(pixels: Samples, interpretation: str) -> pyvips.Image:
    """A libvips picture over an array; the array must live as long as the picture."""
    with _translated():
        return pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=interpretation)


def dressed(
    image: pyvips.Image,
    *,
    blobs: dict[str, bytes],
    texts: dict[str, str],
    ints: dict[str, int],
    resolution: tuple[float, float],
) -> pyvips.Image:
    """The picture with metadata attached; ``resolution`` in pixels per mm."""
    copy = image.copy(xres=resolution[0], yres=resolution[1])
    copy.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    for name, blob in blobs.items():
        copy.set_type(pyvips.GValue.blob_type, name, blob)
    for name, text in texts.items():
        copy.set_type(pyvips.GValue.gstr_type, name, text)
    for name, number in ints.items():
        copy.set_type(pyvips.GValue.gint_type, name, number)
    return copy


def save(image: pyvips.Image, format_name: str, **options: Any) -> bytes:
    """Encode.

    Raises:
        VipsFailed: the format cannot hold the picture.
    """
    with _translated():
        return bytes(getattr(image, f"{_NAMES[format_name]}save_buffer")(**options))


@functools.lru_cache(maxsize=4)
def builtin_profile(name: str) -> bytes:
    """One of libvips' own ICC profiles: ``srgb``, ``cmyk``."""
    with _translated():
        return bytes(pyvips.Operation.call("profile_load", name))


def to_srgb(image: pyvips.Image, profile: bytes) -> Samples:
    """(H, W, C) in the profile's space → (H, W, 3) uint16 sRGB."""
    with _translated():
        tagged = _with_profile(image, profile)
        return samples(
            tagged.icc_transform("srgb", embedded=True, depth=16, intent="relative", black_point_compensation=True)
        )


def from_srgb(image: pyvips.Image, profile: bytes) -> Samples:
    """(H, W, 3) uint16 sRGB → (H, W, C) uint16 in the profile's space.

    In two steps, since only ``icc_export`` takes the goal's profile from memory.
    """
    with _translated():
        lab = image.icc_import(input_profile="srgb", intent="relative", black_point_compensation=True)
        return samples(
            _with_profile(lab, profile).icc_export(depth=16, intent="relative", black_point_compensation=True)
        )


def _with_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    tagged = image.copy()
    tagged.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return tagged
