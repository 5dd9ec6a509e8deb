"""Memory of aligned faces: pages of their own, handed from one face to the next.

A picture's faces, cut out and restored, are its largest arrays that live long. From the allocator's heap they would get
places between what networks keep and what they need for a moment, other ones with each picture: what is left between
them is too small for the next face, and the heap of a process that restores a folder grows for a hundred pictures.
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections import deque

import numpy as np

from pipeline.geometry import CROP_PX
from pipeline.types import FloatImage

SHAPE = (CROP_PX, CROP_PX, 3)

#: Faces that are kept for the next ones, before and after: of sixteen faces at once, 100 MB. What is beyond goes back.
KEPT = 32

_BYTES = math.prod(SHAPE) * np.dtype(np.float32).itemsize

#: Those that nobody uses. A deque's own calls are atomic, and any thread may let go of a face.
_free: deque[mmap.mmap] = deque()


def empty() -> FloatImage:
    """An array for one face, (512, 512, 3) float32, with anything in it; its memory comes back when nobody sees it."""
    try:
        pages = _free.pop()
    except IndexError:
        pages = mmap.mmap(-1, _BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Views and tensors made of it hold this array, and none holds less of it.
    whole = np.frombuffer(pages, np.float32)
    weakref.finalize(whole, _let_go, pages).atexit = False
    return whole.reshape(SHAPE)


def _let_go(pages: mmap.mmap) -> None:
    if len(_free) < KEPT:
        _free.append(pages)
