"""The only resampler of whole pictures: separable Lanczos, full precision, anti-aliased when it shrinks.

OpenCV's ``INTER_LANCZOS4`` has the kernel that the upstream tools use, but quantises its weights for 8-bit
pictures and does not widen the kernel when it shrinks a picture, so that fine detail aliases. This one has the
same kernel (four lobes, edges replicated, weights that sum to one), agrees with OpenCV on enlarging to float
precision, widens the kernel on shrinking, and works in bands, so that only the result is as large as the result.
A picture that grows by a whole number is filtered phase by phase, which takes a quarter of the time.

Source: OpenCV ``resize`` documentation (pixel centres at ``(i + 0.5) * ratio - 0.5``, replicated borders);
Duchon, Lanczos Filtering in One and Two Dimensions, 1979. Compared with OpenCV in tests/unit/pipeline/test_resize.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
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

#: Pictures that grow by a whole number, up to this one, are filtered phase by phase and not by matrix products.
MAX_PHASES = 8

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
    if (height, width) == image.shape[:2]:
        return np.ascontiguousarray(image).copy()
    pixels = image if image.ndim == 3 else image[:, :, np.newaxis]
    resampling = Resampling((pixels.shape[1], pixels.shape[0]), (width, height))
    out = np.empty((height, width, pixels.shape[2]), image.dtype)
    for rows in resampling.bands:
        out[rows] = resampling.in_kind(lambda source: pixels[source], rows)
    return out.reshape((height, width, *image.shape[2:]))


class Resampling:
    """From one size to another, some rows of the result at a time, so that neither picture need be in memory.

    Immutable. Always computed band by band on the same grid, so that the same row has the same bytes whatever rows
    are asked for together with it, and the bytes that ``resize`` gives.

    Args:
        source: (width, height) of the picture that is read.
        target: (width, height) of the result.

    Raises:
        ValueError: a size below one pixel.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        if min(target) < 1 or min(source) < 1:
            raise ValueError(f"cannot resize to {target[0]} x {target[1]}")
        self._is_copy = source == target
        self._source = source
        self._phases = None if self._is_copy else _whole_factors(source, target)
        self._columns = _bands(source[0], target[0])
        self._rows = _bands(source[1], target[1])
        self._width = target[0]

    @property
    def bands(self) -> tuple[slice, ...]:
        """The grid: rows of the result that cost least when they are asked for together, from the top down."""
        return tuple(band.target for band in self._rows)

    def needed(self, rows: slice) -> slice:
        """The source rows that these rows of the result come from."""
        if self._is_copy:
            return rows
        if self._phases is not None:
            return _around(_sources(rows, self._phases[1]), self._source[1])
        bands = self._overlapping(rows)
        return slice(bands[0].source.start, bands[-1].source.stop)

    def __call__(self, read: Callable[[slice], NDArray[Any]], rows: slice) -> NDArray[np.float32]:
        """These rows of the result: (rows, W, C) float32, a new array, not clipped.

        Args:
            read: gives source rows, (rows, source W, C) of any number type.
            rows: within the result, at least one.
        """
        if self._is_copy:
            return np.array(read(rows), np.float32)
        if self._phases is not None:
            return self._filtered(lambda y, _: read(y), rows, slice(0, self._width), np.float32)
        pieces = [self._cut(band, self._band(read(band.source), band), rows) for band in self._overlapping(rows)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def region(self, read: Callable[[slice, slice], NDArray[Any]], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As a call gives it, some columns only; ``read`` gives source rows and columns."""
        if self._is_copy:
            return np.array(read(rows, columns), np.float32)
        if self._phases is not None:
            return self._filtered(read, rows, columns, np.float32)
        return self(lambda source: read(source, slice(0, self._source[0])), rows)[:, columns]

    def in_kind(
        self, read: Callable[[slice], NDArray[Scalar]], rows: slice, *, place: NDArray[Scalar] | None = None
    ) -> NDArray[Scalar]:
        """As a call gives it, in the number type that ``read`` gives, as ``resize`` says; not to be written to.

        ``place`` (rows, W, C) of this type is where it may be made, which spares a copy of the result.
        """
        if self._is_copy:
            return read(rows)
        if self._phases is not None and (slab := read(self.needed(rows))).dtype == np.uint8:
            # Rounded phase by phase, while it is small.
            return self._filtered(lambda *_: slab, rows, slice(0, self._width), np.uint8, place)
        kinds: list[np.dtype[Scalar]] = []

        def noting(source: slice) -> NDArray[Scalar]:
            part = read(source)
            kinds.append(part.dtype)
            return part

        values = self(noting, rows)
        return _as_type(values, kinds[0])

    def _filtered(
        self,
        read: Callable[[slice, slice], NDArray[Any]],
        rows: slice,
        columns: slice,
        kind: type[Any],
        place: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """For whole factors: each of the places that a result's pixel can have between the source's is one filter."""
        across, down = self._phases or (1, 1)
        y, x = _sources(rows, down), _sources(columns, across)
        wide_y, wide_x = _around(y, self._source[1]), _around(x, self._source[0])
        slab = read(wide_y, wide_x)
        inner, channels = (_inside(y, wide_y), _inside(x, wide_x)), slab.shape[2]
        height, width = y.stop - y.start, x.stop - x.start
        shape = height, down, width * across, channels
        fits = place is not None and place.flags.c_contiguous and place.size == math.prod(shape)
        out = place.reshape(shape) if place is not None and fits else np.empty(shape, kind)
        # OpenCV's filters are fastest from float32 to float32.
        planes = [plane.astype(np.float32, copy=False) for plane in cv2.split(slab)]
        for i, vertical in enumerate(_kernels(down)):
            lines = [_line(_along(plane, vertical, axis=0), across, inner, kind) for plane in planes]
            cv2.merge(lines, dst=out[:, i])
        whole = out.reshape(height * down, width * across, channels)
        top, left = y.start * down, x.start * across
        return whole[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _overlapping(self, rows: slice) -> tuple[_Band, ...]:
        size = self._rows[0].target.stop
        return self._rows[rows.start // size : -(-rows.stop // size)]

    def _band(self, slab: NDArray[Any], band: _Band) -> NDArray[np.float32]:
        # Rows first: a band then holds no more than its own output rows while columns are done.
        mixed = _apply(band.weights, slab.astype(np.float32, copy=False))
        across = np.ascontiguousarray(mixed.transpose(1, 0, 2))
        out = np.empty((self._width, *across.shape[1:]), np.float32)
        for columns in self._columns:
            out[columns.target] = _apply(columns.weights, across[columns.source])
        return np.ascontiguousarray(out.transpose(1, 0, 2))

    @staticmethod
    def _cut(band: _Band, pixels: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        first = band.target.start
        return pixels[max(0, rows.start - first) : rows.stop - first]


class PassingBy:
    """A copy, at another size, of a picture that is seen once, from the top down; holds the rows it still needs.

    The same bytes as ``resize`` gives of the whole picture.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int], *, channels: int) -> None:
        self._resampling = Resampling(source, target)
        self._todo = list(self._resampling.bands)
        self._copy = np.empty((target[1], target[0], channels), np.float32)
        self._kept = np.empty((0, source[0], channels), np.float32)
        self._first = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """The next rows, (rows, W, C)."""
        self._kept = np.concatenate([self._kept, rows])
        while self._todo and self._resampling.needed(self._todo[0]).stop <= self._first + len(self._kept):
            band = self._todo.pop(0)
            self._copy[band] = self._resampling(self._again, band)
        first = self._resampling.needed(self._todo[0]).start if self._todo else self._first + len(self._kept)
        if first > self._first:
            self._kept, self._first = self._kept[first - self._first :].copy(), first

    def _again(self, rows: slice) -> NDArray[np.float32]:
        return self._kept[rows.start - self._first : rows.stop - self._first]

    @property
    def copy(self) -> NDArray[np.float32]:
        """(H, W, C), not clipped; asked for when all rows have gone by."""
        if self._todo:
            raise AssertionError("this is a bug: the picture has not gone by in full")
        return self._copy


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


def _as_type(values: NDArray[np.float32], dtype: np.dtype[Scalar]) -> NDArray[Scalar]:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kernel:
    """The weights of one phase."""

    weights: NDArray[np.float32]
    anchor: int  #: which of them belongs to the source pixel that the result's pixel lies on


def _line(mixed: NDArray[np.float32], across: int, inner: tuple[slice, slice], kind: type[Any]) -> NDArray[Any]:
    """One channel's rows of one vertical phase, (H, W * across), from the (H, W) slab that has that phase already.

    Phases are put side by side one channel at a time, because OpenCV merges single channels four times as fast.
    """
    phases = [_in_kind(_along(mixed, horizontal, axis=1), kind)[inner] for horizontal in _kernels(across)]
    return np.asarray(cv2.merge(phases)).reshape(phases[0].shape[0], -1)


def _along(plane: NDArray[np.float32], kernel: _Kernel, *, axis: int) -> NDArray[np.float32]:
    """The (H, W) plane filtered down its columns (0) or along its rows (1).

    By ``filter2D``: with one row or column of weights it takes half the time of ``sepFilter2D`` with a single other
    weight, which goes through a buffer of rows.
    """
    filtered = cv2.filter2D(
        plane,
        cv2.CV_32F,
        kernel.weights.reshape((1, -1) if axis else (-1, 1)),
        anchor=(kernel.anchor, 0) if axis else (0, kernel.anchor),
        borderType=cv2.BORDER_REPLICATE,
    )
    return np.asarray(filtered, np.float32)


def _in_kind(values: NDArray[np.float32], kind: type[Any]) -> NDArray[Any]:
    """The values rounded and clipped, if bytes are wanted; they are written to."""
    if kind is not np.uint8:
        return values
    # Half the time of what OpenCV or numpy do in one step: it has a fast way to bytes for absolute values alone.
    above = cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO, dst=values)[1]
    return np.asarray(cv2.convertScaleAbs(above), np.uint8)


def _inside(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


@functools.lru_cache(maxsize=MAX_PHASES)
def _kernels(factor: int) -> tuple[_Kernel, ...]:
    """For each of the ``factor`` pixels that one source pixel becomes."""
    return tuple(_kernel((phase + 0.5) / factor - 0.5) for phase in range(factor))


def _kernel(offset: float) -> _Kernel:
    """Of a result's pixel so far (source px, -0.5 to 0.5) behind a source pixel's centre."""
    taps = np.arange(1 - LOBES, LOBES + 1) - int(offset < 0)
    distance = taps - offset
    weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    return _Kernel(weights=(weights / weights.sum()).astype(np.float32), anchor=LOBES - 1 + int(offset < 0))


def _whole_factors(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int] | None:
    """By which whole numbers (across, down) a picture grows, if it does."""
    if any(goal % own or goal // own > MAX_PHASES for own, goal in zip(source, target, strict=True)):
        return None
    return target[0] // source[0], target[1] // source[1]


def _sources(targets: slice, factor: int) -> slice:
    """The source pixels that become these."""
    return slice(targets.start // factor, -(-targets.stop // factor))


def _around(inner: slice, length: int) -> slice:
    """With what the kernel reaches beyond."""
    return slice(max(0, inner.start - LOBES), min(length, inner.stop + LOBES))


#: A rendering job uses up to four axes at a time, and several jobs run in one process.
@functools.lru_cache(maxsize=32)
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
