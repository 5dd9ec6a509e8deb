"""A small corpus in every mode and depth, made by other libraries than the one under test."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pyvips
import tifffile
from PIL import Image

WIDTH, HEIGHT = 37, 23  #: odd, so that rows of 1, 2 and 4 bits end inside a byte


def levels(bits: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise over a gradient: every part of the range occurs, and no two neighbours are alike."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, WIDTH)[None, :, None] * np.ones((HEIGHT, 1, channels))
    top = 2**bits - 1
    values = np.clip(np.rint((0.8 * ramp + 0.2 * rng.random((HEIGHT, WIDTH, channels))) * top), 0, top)
    return values.astype(np.uint8 if bits <= 8 else np.uint16).squeeze()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of few bits, each padded to whole bytes."""
    lanes = np.unpackbits(values.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    return np.packbits(lanes.reshape(len(values), -1), axis=1).tobytes()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


#: PNG's colour types by channels.
_PNG_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png(values: np.ndarray, bits: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of any depth with chunks of one's own, by hand: Pillow writes few kinds."""
    values = values.reshape(*values.shape[:2], -1)
    whole = values.astype(">u2" if bits == 16 else np.uint8).tobytes()
    rows = packed(values[..., 0], bits) if bits < 8 else whole
    each = len(rows) // len(values)
    body = b"".join(b"\0" + rows[i : i + each] for i in range(0, len(rows), each))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, _PNG_TYPES[values.shape[2]], 0, 0, 0)
    middle = b"".join(png_chunk(*chunk) for chunk in chunks)
    pixels = png_chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + middle + pixels + png_chunk(b"IEND", b"")


def interlaced(values: np.ndarray) -> bytes:
    return pyvips.Image.new_from_array(values).pngsave_buffer(interlace=True)


def tiff_few_bits(bits: int, *, white_is_zero: bool = False, width: int = WIDTH) -> bytes:
    """A gray TIFF of few bits, by hand: tifffile writes 1 only."""
    values = levels(bits)[:, :width]
    rows = packed((2**bits - 1 - values) if white_is_zero else values, bits)
    rows += bytes(len(rows) % 2)
    size = -(-width * bits // 8) * HEIGHT
    entries = [(256, 3, width), (257, 3, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, int(not white_is_zero))]
    entries += [(273, 4, 8), (277, 3, 1), (278, 3, HEIGHT), (279, 4, size)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<4sI", b"II*\0", 8 + len(rows)) + rows + struct.pack("<H", len(entries)) + table + bytes(4)


def palette(bits: int, transparent: bool = False) -> bytes:
    image = Image.fromarray(levels(8, 3)).quantize(2**bits)
    return saved(image, "PNG", bits=bits, **({"transparency": 1} if transparent else {}))


def _alpha16(channels: int) -> np.ndarray:
    return np.concatenate([levels(16, channels - 1).reshape(HEIGHT, WIDTH, -1), levels(16, 1, 5)[..., None]], axis=-1)


def _alpha8(channels: int) -> np.ndarray:
    return np.concatenate([levels(8, channels - 1).reshape(HEIGHT, WIDTH, -1), levels(8, 1, 5)[..., None]], axis=-1)


def associated(bits: int) -> np.ndarray:
    """Colours multiplied by their transparency."""
    pixels = (_alpha8 if bits == 8 else _alpha16)(4).astype(np.int64)
    pixels[..., :3] = pixels[..., :3] * pixels[..., 3:] // (2**bits - 1)
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)


def tiff_palette() -> bytes:
    colours = np.random.default_rng(4).integers(0, 256, (3, 256), dtype=np.uint16) * 257
    return tiff(levels(8), photometric="palette", colormap=colours)


def _fax(compression: str) -> bytes:
    return saved(Image.fromarray(levels(1).astype(bool)), "TIFF", compression=compression)


def transparent_palette() -> bytes:
    image = Image.fromarray(levels(8, 3)).quantize(16)
    return saved(image, "PNG", transparency=bytes(range(0, 256, 16)))


def _tiff_pillow(pixels: np.ndarray, compression: str) -> bytes:
    return saved(Image.fromarray(pixels), "TIFF", compression=compression)


#: Every lossless format, mode and depth.
LOSSLESS: dict[str, Callable[[], bytes]] = {
    "png-gray-1": lambda: png(levels(1), 1),
    "png-gray-2": lambda: png(levels(2), 2),
    "png-gray-4": lambda: png(levels(4), 4),
    "png-gray-8": lambda: saved(Image.fromarray(levels(8)), "PNG"),
    "png-gray-16": lambda: saved(Image.fromarray(levels(16)), "PNG"),
    "png-gray-16-dark": lambda: saved(Image.fromarray((levels(16) // 300).astype(np.uint16)), "PNG"),
    "png-gray-8-interlaced": lambda: interlaced(levels(8)),
    "png-rgb-16-interlaced": lambda: interlaced(levels(16, 3)),
    "png-gray-16-of-byte-values": lambda: png(levels(8).astype(np.uint16), 16),
    "png-gray-8-transparent-level": lambda: png(levels(8), 8, (b"tRNS", struct.pack(">H", int(levels(8)[3, 3])))),
    "png-rgb-16": lambda: png(levels(16, 3), 16),
    "png-rgba-16": lambda: png(_alpha16(4), 16),
    "png-gray-alpha-16": lambda: png(_alpha16(2), 16),
    "png-rgb-8-srgb": lambda: png(levels(8, 3), 8, (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))),
    "png-palette-4-transparent": transparent_palette,
    "png-rgb-8": lambda: saved(Image.fromarray(levels(8, 3)), "PNG"),
    "png-rgba-8": lambda: saved(Image.fromarray(_alpha8(4)), "PNG"),
    "png-gray-alpha-8": lambda: saved(Image.fromarray(_alpha8(2), "LA"), "PNG"),
    "png-palette-1": lambda: palette(1),
    "png-palette-2": lambda: palette(2),
    "png-palette-4": lambda: palette(4),
    "png-palette-8": lambda: palette(8),
    "png-palette-8-transparent": lambda: palette(8, transparent=True),
    "tiff-gray-1": lambda: tiff(levels(1).astype(bool), photometric="minisblack"),
    "tiff-gray-1-white-is-0": lambda: tiff_few_bits(1, white_is_zero=True),
    "tiff-gray-1-fax-4": lambda: _fax("group4"),
    "tiff-gray-1-fax-3": lambda: _fax("group3"),
    "tiff-gray-1-packbits": lambda: _fax("packbits"),
    "tiff-gray-2": lambda: tiff_few_bits(2),
    "tiff-gray-4": lambda: tiff_few_bits(4),
    "tiff-gray-4-even": lambda: tiff_few_bits(4, width=WIDTH - 1),
    "tiff-gray-16-of-byte-values": lambda: tiff(levels(8).astype(np.uint16), photometric="minisblack"),
    "tiff-gray-16-white-is-0": lambda: tiff(levels(16), photometric="miniswhite"),
    "tiff-palette": tiff_palette,
    "tiff-rgb-8-planar": lambda: tiff(
        np.ascontiguousarray(levels(8, 3).transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    ),
    "tiff-rgb-16-strips": lambda: tiff(levels(16, 3), photometric="rgb", rowsperstrip=5),
    "tiff-rgb-16-tiled-big-endian": lambda: tiff(
        levels(16, 3), photometric="rgb", tile=(16, 16), byteorder=">", compression="zlib"
    ),
    "tiff-rgb-16-bigtiff-big-endian": lambda: tiff(levels(16, 3), photometric="rgb", bigtiff=True, byteorder=">"),
    "tiff-rgba-8-associated": lambda: tiff(associated(8), photometric="rgb", extrasamples=["assocalpha"]),
    "tiff-rgba-16-associated": lambda: tiff(associated(16), photometric="rgb", extrasamples=["assocalpha"]),
    "tiff-rgb-16-infrared": lambda: tiff(_alpha16(4), photometric="rgb", extrasamples=["unspecified"]),
    "tiff-cmyk-8-alpha": lambda: tiff(_alpha8(5), photometric="separated", extrasamples=["unassalpha"]),
    "tiff-gray-8": lambda: tiff(levels(8), photometric="minisblack"),
    "tiff-gray-8-white-is-0": lambda: tiff(levels(8), photometric="miniswhite"),
    "tiff-gray-16": lambda: tiff(levels(16), photometric="minisblack"),
    "tiff-gray-16-dark": lambda: tiff((levels(16) // 300).astype(np.uint16), photometric="minisblack"),
    "tiff-rgb-8": lambda: tiff(levels(8, 3), photometric="rgb"),
    "tiff-rgb-8-big-endian": lambda: tiff(levels(8, 3), photometric="rgb", byteorder=">"),
    "tiff-rgb-16": lambda: tiff(levels(16, 3), photometric="rgb"),
    "tiff-rgb-16-big-endian": lambda: tiff(levels(16, 3), photometric="rgb", byteorder=">"),
    "tiff-rgb-16-planar": lambda: tiff(
        np.ascontiguousarray(levels(16, 3).transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    ),
    "tiff-rgba-8": lambda: tiff(_alpha8(4), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff-rgba-16": lambda: tiff(_alpha16(4), photometric="rgb", extrasamples=["unassalpha"]),
    "tiff-gray-alpha-16": lambda: tiff(_alpha16(2), photometric="minisblack", extrasamples=["unassalpha"]),
    "tiff-cmyk-8": lambda: tiff(levels(8, 4), photometric="separated"),
    "tiff-cmyk-16": lambda: tiff(levels(16, 4), photometric="separated"),
    "tiff-rgb-8-lzw": lambda: _tiff_pillow(levels(8, 3), "tiff_lzw"),
    "tiff-rgb-8-deflate": lambda: _tiff_pillow(levels(8, 3), "tiff_adobe_deflate"),
    "tiff-rgb-8-packbits": lambda: _tiff_pillow(levels(8, 3), "packbits"),
    "tiff-gray-16-lzw": lambda: _tiff_pillow(levels(16), "tiff_lzw"),
    "tiff-rgb-16-deflate": lambda: tiff(levels(16, 3), photometric="rgb", compression="zlib", predictor=True),
    "tiff-rgb-8-tiled": lambda: tiff(levels(8, 3), photometric="rgb", tile=(16, 16)),
    "tiff-rgb-8-bigtiff": lambda: tiff(levels(8, 3), photometric="rgb", bigtiff=True),
    "webp-rgb": lambda: saved(Image.fromarray(levels(8, 3)), "WEBP", lossless=True),
    "webp-rgba": lambda: saved(Image.fromarray(_alpha8(4)), "WEBP", lossless=True, exact=True),
}

#: Pictures that only come close to what was stored.
LOSSY: dict[str, Callable[[], bytes]] = {
    "jpeg-gray": lambda: saved(Image.fromarray(levels(8)), "JPEG"),
    "jpeg-rgb": lambda: saved(Image.fromarray(levels(8, 3)), "JPEG", quality=90),
    "jpeg-rgb-full-chroma": lambda: saved(Image.fromarray(levels(8, 3)), "JPEG", subsampling=0),
    "jpeg-rgb-progressive": lambda: saved(Image.fromarray(levels(8, 3)), "JPEG", progressive=True),
    "jpeg-cmyk": lambda: saved(Image.fromarray(levels(8, 4), "CMYK"), "JPEG"),
    "tiff-jpeg": lambda: _tiff_pillow(levels(8, 3), "jpeg"),
    "webp-lossy": lambda: saved(Image.fromarray(levels(8, 3)), "WEBP", quality=80),
    "webp-lossy-alpha": lambda: saved(Image.fromarray(_alpha8(4)), "WEBP", quality=80),
    "avif": lambda: saved(Image.fromarray(levels(8, 3)), "AVIF", subsampling="4:4:4"),
    "avif-alpha": lambda: saved(Image.fromarray(_alpha8(4)), "AVIF"),
}


def avif_10_bit(values: np.ndarray) -> bytes:
    """Lossless, from (H, W, C) uint16 with 10 bits."""
    picture = pyvips.Image.new_from_array(values << 6, interpretation="rgb16")
    return picture.heifsave_buffer(compression="av1", lossless=True, bitdepth=10)
