"""libvips behind a small port: the only file that imports pyvips, and the only one that sees its errors.

Loaders are blocked but for those of the formats that we read, which libvips itself trusts with strangers' files, so
that no byte pattern can reach another decoder of libvips (PDF, SVG, ImageMagick, …). Convention: sample arrays are
(H, W, C) uint8 or uint16, C-contiguous.
"""

from __future__ import annotations

import atexit
import errno
import functools
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from pipeline import scratch
from pipeline.errors import ScratchFull

Samples = NDArray[Any]  #: (H, W, C) uint8 or uint16
Allocate = Callable[[int], memoryview]  #: so many bytes, all of them to be written to

#: libvips' name of a sample's type → numpy's.
_TYPES = {"uchar": np.uint8, "ushort": np.uint16}

#: What each format's operations are called in libvips.
_NAMES = {"jpeg": "jpeg", "png": "png", "tiff": "tiff", "webp": "webp", "gif": "gif", "avif": "heif"}

#: Formats whose loader takes a page.
_PAGED = {"tiff", "webp", "gif", "avif"}

#: libvips warns about every oddity of a file; whoever runs us may turn this logger on.
logging.getLogger("pyvips").addHandler(logging.NullHandler())


def _harden() -> None:
    """Only hardened loaders, and only ours; no cache, since no picture is read twice and pixels are large."""
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in ("Jpeg", "Png", "Tiff", "Webp", "Nsgif", "Heif"):
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)
    pyvips.cache_set_max(0)
    # libvips' words quote the file, which may hold any bytes; pyvips would raise over them, in place of its own error
    # or inside libvips, where nobody can catch it.
    pyvips._to_string = pyvips.error._to_string = _text  # noqa: SLF001  (there is no public way)
    _log_what_glib_says()


def _log_what_glib_says() -> None:
    """As libvips' own warnings: GLib's way to standard error takes calls that the sandbox takes for an attack.

    A file with sizes beyond 31 bits is enough for it to say something.
    """
    every_level = 0b111111 << 2
    for domain in (b"GLib", b"GLib-GObject"):
        handler = pyvips.glib_lib.g_log_set_handler(domain, every_level, pyvips._log_handler_cb, pyvips.ffi.NULL)  # noqa: SLF001
        # As pyvips does: at the end there is no Python to call.
        atexit.register(pyvips.glib_lib.g_log_remove_handler, domain, handler)


def _text(pointer: Any) -> str:
    """What a C string says; bytes that are no UTF-8 become question marks."""
    return "NULL" if pointer == pyvips.ffi.NULL else str(pyvips.ffi.string(pointer).decode(errors="replace"))


_harden()


class VipsFailed(Exception):
    """Raised when libvips refuses; carries its own words, which are for operators only."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        if "out of memory" in str(error):
            raise MemoryError("libvips has too little memory") from error
        raise VipsFailed(" ".join(str(error).split())) from error


def version() -> str:
    """Libvips' version."""
    return ".".join(str(pyvips.version(i)) for i in range(3))


def learn_operations() -> None:
    """Have the signatures of what ``decode`` calls looked up, so that a forked child need not; starts no thread."""
    for name in (*(f"{name}load_buffer" for name in _NAMES.values()), "icc_transform", "icc_import", "icc_export"):
        pyvips.Introspect.get(name)


def open_picture(data: bytes, format_name: str, *, page: int = 1, forgiving: bool = True) -> pyvips.Image:
    """A picture whose header has been read and whose pixels have not; ``page`` counts from 1.

    ``fail_on=error``: a truncated file, a wrong checksum or an undecodable strip is an error later, when pixels are
    asked for, instead of gray pixels. Not ``forgiving``: so is whatever the decoder only warns of.

    Raises:
        VipsFailed: the header cannot be read.
    """
    load = getattr(pyvips.Image, f"{_NAMES[format_name]}load_buffer")
    paged = {"page": page - 1} if format_name in _PAGED else {}
    with _translated():
        return load(data, access="sequential", fail_on="error" if forgiving else "warning", **paged)


def field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """A header field's value, or the default where the file has none."""
    return image.get(name) if image.get_typeof(name) != 0 else default


def in_memory(size: int) -> memoryview:
    """The simplest ``Allocate``: memory of this process."""
    return np.empty(size, np.uint8).data


def samples(image: pyvips.Image, *, whole: bool = False, allocate: Allocate = in_memory) -> Samples:
    """Decode: every sample of the picture, into memory that ``allocate`` gives.

    ``whole``: refuse it also where libvips goes on after an error; a tile that it cannot decode it paints black, and
    only its list of errors tells. Some decoders note errors there that they get over, so it is not for every format.

    Raises:
        VipsFailed: the file is damaged or ends too soon.
    """
    if whole:
        pyvips.vips_lib.vips_error_clear()
    shape = (image.height, image.width, image.bands)
    kind = np.dtype(_TYPES[image.format])
    memory = allocate(math.prod(shape) * kind.itemsize)
    with _translated():
        image.write(pyvips.Image.new_from_memory(memory, image.width, image.height, image.bands, image.format))
        if whole and (passed_over := pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())):
            pyvips.vips_lib.vips_error_clear()
            raise VipsFailed(" ".join(passed_over.decode(errors="replace").split()))
    return np.frombuffer(memory, kind).reshape(shape)


def picture(pixels: Samples, interpretation: str) -> pyvips.Image:
    """A libvips picture over an array; the array must live as long as the picture."""
    with _translated():
        return pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=interpretation)


def dressed(image: pyvips.Image, *, profile: bytes | None, resolution: tuple[float, float]) -> pyvips.Image:
    """The picture, upright, with a colour profile and a resolution in pixels per mm."""
    copy = image.copy(xres=resolution[0], yres=resolution[1])
    copy.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    copy.set_type(pyvips.GValue.gint_type, "orientation", 1)
    if profile is not None:
        copy.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return copy


def save(image: pyvips.Image, format_name: str, **options: Any) -> scratch.Data:
    """Encode; of all metadata libvips writes the colour profile only, and the resolution where the format has a field.

    The encoded form of a large picture lies on the disk, where the picture does.

    Raises:
        VipsFailed: the format cannot hold the picture.
        ScratchFull: the disk cannot.
    """
    name, options = _NAMES[format_name], {"keep": "icc", **options}
    if image.width * image.height * image.bands * np.dtype(_TYPES[image.format]).itemsize <= scratch.IN_MEMORY_BYTES:
        with _translated():
            return bytes(getattr(image, f"{name}save_buffer")(**options))
    with scratch.file() as file:
        try:
            with _translated():
                getattr(image, f"{name}save_target")(pyvips.Target.new_to_descriptor(file.fileno()), **options)
        except VipsFailed as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise ScratchFull(f"the encoded picture does not fit onto the disk: {error}") from error
            raise
        return scratch.mapped(file)


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
