"""A small corpus in every mode and depth, made by other libraries than the one under test."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
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


def png_gray_bits(bits: int) -> bytes:
    """Gray PNG of 1, 2 or 4 bits, by hand: Pillow writes 1 only."""
    import struct
    import zlib

    values = levels(bits)
    rows = np.zeros((HEIGHT, -(-WIDTH * bits // 8) * 8 // bits), np.uint8)
    rows[:, :WIDTH] = values
    packed = np.packbits(np.unpackbits(rows[:, :, None], axis=2)[:, :, 8 - bits :].reshape(HEIGHT, -1), axis=1)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def palette(bits: int, transparent: bool = False) -> bytes:
    image = Image.fromarray(levels(8, 3)).quantize(2**bits)
    return saved(image, "PNG", bits=bits, **({"transparency": 1} if transparent else {}))


def _alpha16(channels: int) -> np.ndarray:
    return np.concatenate([levels(16, channels - 1).reshape(HEIGHT, WIDTH, -1), levels(16, 1, 5)[..., None]], axis=-1)


def _alpha8(channels: int) -> np.ndarray:
    return np.concatenate([levels(8, channels - 1).reshape(HEIGHT, WIDTH, -1), levels(8, 1, 5)[..., None]], axis=-1)


def _tiff_pillow(pixels: np.ndarray, compression: str) -> bytes:
    return saved(Image.fromarray(pixels), "TIFF", compression=compression)


#: Every lossless format, mode and depth.
LOSSLESS: dict[str, Callable[[], bytes]] = {
    "png-gray-1": lambda: png_gray_bits(1),
    "png-gray-2": lambda: png_gray_bits(2),
    "png-gray-4": lambda: png_gray_bits(4),
    "png-gray-8": lambda: saved(Image.fromarray(levels(8)), "PNG"),
    "png-gray-16": lambda: saved(Image.fromarray(levels(16)), "PNG"),
    "png-gray-16-dark": lambda: saved(Image.fromarray((levels(16) // 300).astype(np.uint16)), "PNG"),
    "png-rgb-8": lambda: saved(Image.fromarray(levels(8, 3)), "PNG"),
    "png-rgba-8": lambda: saved(Image.fromarray(_alpha8(4)), "PNG"),
    "png-gray-alpha-8": lambda: saved(Image.fromarray(_alpha8(2), "LA"), "PNG"),
    "png-palette-1": lambda: palette(1),
    "png-palette-2": lambda: palette(2),
    "png-palette-4": lambda: palette(4),
    "png-palette-8": lambda: palette(8),
    "png-palette-8-transparent": lambda: palette(8, transparent=True),
    "tiff-gray-1": lambda: tiff(levels(1).astype(bool), photometric="minisblack"),
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
