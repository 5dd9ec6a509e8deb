"""The only resampler of whole pictures: separable Lanczos, full precision, anti-aliased when it shrinks.

OpenCV's ``INTER_LANCZOS4`` has the kernel that the upstream tools use, but quantises its weights for 8-bit
pictures and does not widen the kernel when it shrinks a picture, so that fine detail aliases. This one has the
same kernel (four lobes, edges replicated, weights that sum to one), agrees with OpenCV on enlarging to float
precision, widens the kernel on shrinking, and works in bands, so that only the result is as large as the result.

Source: OpenCV ``resize`` documentation (pixel centres at ``(i + 0.5) * ratio - 0.5``, replicated borders);
Duchon, Lanczos Filtering in One and Two Dimensions, 1979. Compared with OpenCV in tests/unit/pipeline/test_resize.py.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: Lobes on either side of the centre; 4 is OpenCV's INTER_LANCZOS4, which upstream uses everywhere.
LOBES = 4

#: Output rows or columns done at once: small enough that the zeros outside the band cost little.
MAX_BAND = 64

#: Columns of one matrix product, and the multiply-adds that it may cost. Kept below OpenBLAS's threshold for
#: threads (2**18), because it splits larger products by the number of threads, and the sums at the seams then
#: round differently on machines with other core counts.
CHUNK = 32
MAX_PRODUCT = 250_000

Scalar = TypeVar("Scalar", bound=np.generic)


def resize(image: NDArray[Scalar], width: int, height: int) -> NDArray[Scalar]:
    """The picture at another size, in the same number type.

    Convention: ``image`` (H, W) or (H, W, C), any of uint8, uint16, float32, float64; the result has the same
    layout and type and is always a new array. Integers are rounded and clipped to their type; floats are not
    clipped, so Lanczos overshoot leaves [0, 1] by a little. float64 is computed in float32.
    Deterministic: the same array and size give the same bytes.

    Raises:
        ValueError: a size below one pixel, or an array that is no picture.
    """
    if image.ndim not in {2, 3} or 0 in image.shape:
        raise ValueError(f"a picture is (H, W) or (H, W, C), not {image.shape}")
    if width < 1 or height < 1:
        raise ValueError(f"cannot resize to {width} x {height}")
    if (height, width) == image.shape[:2]:
        return np.ascontiguousarray(image).copy()
    pixels = image if image.ndim == 3 else image[:, :, np.newaxis]
    out = np.empty((height, width, pixels.shape[2]), image.dtype)
    for rows in _bands(pixels.shape[0], height):
        slab = pixels[rows.source].astype(np.float32)
        # Rows first: a band then holds no more than its own output rows while columns are done.
        mixed = _apply(rows.weights, slab)
        out[rows.target] = _as_type(_columns(mixed, width), out.dtype)
    return out.reshape((height, width, *image.shape[2:]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Band:
    """Some output rows, the source rows they come from, and the weights between them."""

    target: slice
    source: slice
    weights: NDArray[np.float32]  #: (target rows, source rows)


def _apply(weights: NDArray[np.float32], slab: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, n) weights over the first axis of an (n, ...) slab."""
    flat = slab.reshape(slab.shape[0], -1)
    mixed = np.empty((weights.shape[0], flat.shape[1]), np.float32)
    whole = flat.shape[1] - flat.shape[1] % CHUNK
    np.matmul(weights, _chunks(flat[:, :whole]), out=_chunks(mixed[:, :whole]))
    np.matmul(weights, flat[:, whole:], out=mixed[:, whole:])
    return mixed.reshape(weights.shape[0], *slab.shape[1:])


def _chunks(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, k * CHUNK) as a view (k, n, CHUNK), a stack of small matrices."""
    rows, columns = flat.shape
    down, across = flat.strides
    shape, strides = (columns // CHUNK, rows, CHUNK), (across * CHUNK, down, across)
    return np.lib.stride_tricks.as_strided(flat, shape, strides)


def _columns(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """(h, W, C) with its columns resampled to (h, width, C)."""
    across = np.ascontiguousarray(rows.transpose(1, 0, 2))
    out = np.empty((width, *across.shape[1:]), np.float32)
    for band in _bands(across.shape[0], width):
        out[band.target] = _apply(band.weights, across[band.source])
    return out.transpose(1, 0, 2)


def _as_type(values: NDArray[np.float32], dtype: np.dtype[Scalar]) -> NDArray[Scalar]:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)


@functools.lru_cache(maxsize=8)
def _bands(source: int, target: int) -> tuple[_Band, ...]:
    """The bands that cover one axis, from ``source`` to ``target`` samples."""
    size = _band_size(source / target)
    slices = [slice(i, min(i + size, target)) for i in range(0, target, size)]
    if source == target:
        return tuple(_Band(target=s, source=s, weights=np.eye(s.stop - s.start, dtype=np.float32)) for s in slices)
    return tuple(_band(source, target, s.start, s.stop) for s in slices)


def _band_size(ratio: float) -> int:
    """The largest power of two of output samples whose product stays within MAX_PRODUCT."""
    size = MAX_BAND
    while size > 1 and size * (size + 2 * LOBES) * max(1.0, ratio) * CHUNK > MAX_PRODUCT:
        size //= 2
    return size


def _band(source: int, target: int, start: int, stop: int) -> _Band:
    ratio = source / target
    stretch = max(1.0, ratio)  # shrinking: the kernel covers what one output pixel covers
    centres = (np.arange(start, stop) + 0.5) * ratio - 0.5
    radius = LOBES * stretch
    first = int(np.floor(centres[0] - radius)) + 1
    last = int(np.ceil(centres[-1] + radius))
    taps = np.arange(first, last)
    distance = (taps[np.newaxis, :] - centres[:, np.newaxis]) / stretch
    kernel = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    kernel /= kernel.sum(axis=1, keepdims=True)
    # Replicated borders: weights of taps outside the picture go to the edge pixel.
    inside = np.clip(taps, 0, source - 1)
    low, high = int(inside[0]), int(inside[-1]) + 1
    weights = np.zeros((stop - start, high - low))
    for column, tap in enumerate(inside):
        weights[:, tap - low] += kernel[:, column]
    return _Band(target=slice(start, stop), source=slice(low, high), weights=weights.astype(np.float32))
