"""An alpha channel at another size: Lanczos, held between the pixels around, whatever enlarges the colours.

Lanczos alone swings beyond an edge: by 5 % of ghost around a cut-out, by as much of holes inside it. Networks for
photos are not asked: they invent edges of things, and a mask's are given.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.colour import unit
from pipeline.resize import Resampling


def resampled(alpha: NDArray[Any], size: tuple[int, int], rows: slice) -> NDArray[np.float32]:
    """Some rows of the enlarged channel: (rows, W, 1) in [0, 1].

    Args:
        alpha: (h, w, 1) uint8 or uint16.
        size: (W, H) of the whole result, at least as large as ``alpha``.
        rows: of the result.
    """
    height, width = alpha.shape[:2]
    smooth = Resampling((width, height), size)(lambda needed: unit(alpha[needed]), rows)
    down = [places[rows] for places in _around(height, size[1])]
    across = _around(width, size[0])
    near = [unit(alpha[np.ix_(y, x)]) for y in down for x in across]
    held: NDArray[np.float32] = np.clip(smooth, functools.reduce(np.minimum, near), functools.reduce(np.maximum, near))
    return held


def _around(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each place of the result, the pixels of the source on either side; pixel centres as in ``resize``."""
    before = np.floor((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.int64)
    return np.clip(before, 0, source - 1), np.clip(before + 1, 0, source - 1)
