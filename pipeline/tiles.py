"""Cuts a picture into overlapping tiles and puts their results together without seams. Pure.

A tile's result is trusted only where the network saw as much around a pixel as it needs: each tile owns a core,
is read with ``overlap`` pixels around it, and fades into its neighbours over the inner part of that overlap.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.picture import Picture

#: Part of the overlap over which neighbours fade into each other, on either side of their common edge; the rest is
#: context, which is read and thrown away.
FADE_PART = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One tile along one axis, in source pixels."""

    start: int  #: first pixel of the core
    stop: int  #: one behind its last
    read_start: int  #: the same with the overlap, within the picture
    read_stop: int
    fade: int  #: pixels on either side of an inner edge over which neighbours are mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile of a picture."""

    rows: Span
    columns: Span

    @property
    def source(self) -> tuple[slice, slice]:
        """What to cut out of the picture."""
        return slice(self.rows.read_start, self.rows.read_stop), slice(self.columns.read_start, self.columns.read_stop)

    @property
    def megapixels(self) -> float:
        """How much the network is given."""
        rows, columns = self.source
        return float((rows.stop - rows.start) * (columns.stop - columns.start)) / 1e6


def plan(height: int, width: int, *, tile_px: int, overlap_px: int, step: int = 1) -> tuple[Tile, ...]:
    """The tiles of a picture, row by row; cores of about equal size, none above ``tile_px``.

    With a ``step`` every edge lies on a multiple of it, as a network that folds pixels into channels needs, and the
    tiles cover the picture's size rounded up to one: ``cut`` mirrors what is beyond its edge.

    Raises:
        ValueError: sizes that make no tiles.
    """
    if min(height, width, step) < 1 or tile_px < step or overlap_px < 0:
        raise ValueError(f"no tiles of {tile_px} px with {overlap_px} px overlap in {width} x {height}")
    overlap = math.ceil(overlap_px / step) * step
    rows, columns = (
        _spans(padded(height, step), tile_px, overlap, step),
        _spans(padded(width, step), tile_px, overlap, step),
    )
    return tuple(Tile(rows=r, columns=c) for r in rows for c in columns)


def padded(length: int, step: int) -> int:
    """The length rounded up to a multiple of ``step``."""
    return math.ceil(length / step) * step


def cut(picture: Picture, tile: Tile) -> NDArray[np.float32]:
    """What the tile reads, mirrored at the picture's right and lower edge where it reads beyond."""
    rows, columns = tile.source
    lacking = (max(0, rows.stop - picture.height), max(0, columns.stop - picture.width))
    inside = picture.region(slice(rows.start, rows.stop - lacking[0]), slice(columns.start, columns.stop - lacking[1]))
    # Mirrored without the edge pixel, as Real-ESRGAN does it, where there is more than the edge to mirror.
    enough = inside.shape[0] > lacking[0] and inside.shape[1] > lacking[1]
    mode: Literal["reflect", "edge"] = "reflect" if enough else "edge"
    return np.pad(inside, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode=mode)


def _spans(length: int, tile_px: int, overlap_px: int, step: int) -> list[Span]:
    units = length // step
    count = math.ceil(units / (tile_px // step))
    edges = [units * i // count * step for i in range(count + 1)]
    core = min(stop - start for start, stop in itertools.pairwise(edges))
    fade = min(int(overlap_px * FADE_PART), core // 2)
    return [
        Span(
            start=start,
            stop=stop,
            read_start=max(0, start - overlap_px),
            read_stop=min(length, stop + overlap_px),
            fade=fade,
        )
        for start, stop in itertools.pairwise(edges)
    ]


def add_tile(canvas: NDArray[np.float32], result: NDArray[np.float32], tile: Tile, *, scale: int) -> None:
    """Add a tile's result, weighted, to a canvas that started as zeros; the weights of all tiles sum to one.

    Convention: ``result`` (h * scale, w * scale, C) for the tile's read region of h x w pixels.

    Raises:
        ValueError: the result has another size.
    """
    rows, columns = tile.source
    expected = ((rows.stop - rows.start) * scale, (columns.stop - columns.start) * scale)
    if result.shape[:2] != expected:
        raise ValueError(f"a tile of {expected} pixels was expected, not {result.shape[:2]}")
    (to_rows, from_rows, down), (to_columns, from_columns, across) = (
        _weights(tile.rows, scale, canvas.shape[0]),
        _weights(tile.columns, scale, canvas.shape[1]),
    )
    weight = down[:, np.newaxis] * across[np.newaxis, :]
    canvas[to_rows, to_columns] += result[from_rows, from_columns] * weight[:, :, np.newaxis]


def _weights(span: Span, scale: int, length: int) -> tuple[slice, slice, NDArray[np.float32]]:
    """Where the tile writes, from which part of its result, and how much it counts there."""
    fade = span.fade * scale
    first, last = span.start * scale, span.stop * scale
    start = first - fade if first > 0 else first
    stop = last + fade if last < length else last
    at = np.arange(start, stop) + 0.5
    weight = np.ones(stop - start)
    if fade and first > 0:
        weight = np.minimum(weight, (at - start) / (2 * fade))
    if fade and last < length:
        weight = np.minimum(weight, (stop - at) / (2 * fade))
    offset = span.read_start * scale
    return slice(start, stop), slice(start - offset, stop - offset), weight.astype(np.float32)
