"""Aligned faces through a network, a few at a time, and fewer where memory does not suffice."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch

from pipeline.device import shrink_on_oom
from pipeline.forward import Forward, Notes, Room, Rooms
from pipeline.geometry import CROP_PX
from pipeline.types import Compute, FloatImage, Stage

T = TypeVar("T")

#: Faces in one forward at most, of one picture or several. Batches gain nothing on a CPU (performance.md) and cost
#: memory; on a GPU what fits is learned: the size is halved when it does not, and stays so.
MAX_BATCH = {"cpu": 1, "cuda": 16}

#: Learned sizes by device, stage and network, for the whole process.
ROOMS = Rooms()


def in_batches(
    forward: Callable[[Sequence[FloatImage]], list[T]],
    faces: Sequence[FloatImage],
    *,
    device: torch.device,
    compute: Compute,
    stage: Stage,
    passes: int = 1,
    key: Hashable | None = None,
    notes: Notes | None = None,
    on_shared: Callable[[Any], None] = lambda _: None,
    on_fraction: Callable[[float], None],
) -> list[tuple[T, float]]:
    """What ``forward`` gives for each face (512, 512, 3), in order, with its share of the seconds that it took.

    ``passes`` says how often it runs the network. Waiting for the device does not count. With a ``key`` the faces may
    share a run with those of other pictures that have the same one; see ``pipeline.forward.Forward``.

    Raises:
        OutOfMemory: a single face does not fit.
    """
    results: list[tuple[T, float]] = []
    room = ROOMS.of((str(device), stage, key), most=MAX_BATCH.get(device.type, 1))
    run = functools.partial(_fitting, forward, room=room, what=f"{stage}: faces")
    while len(results) < len(faces):
        chunk = tuple(faces[len(results) : len(results) + room.size])
        work = Forward(key=key, run=run, inputs=chunk, room=room, notes=notes, on_shared=on_shared)
        results += compute(work, stage=stage, megapixels=passes * len(chunk) * CROP_PX**2 / 1e6)
        on_fraction(len(results) / len(faces))
    return results


def _fitting(
    forward: Callable[[Sequence[FloatImage]], list[T]], faces: Sequence[FloatImage], *, room: Room, what: str
) -> list[tuple[T, float]]:
    """All the faces, as many at once as there is room for, and fewer from when that proves too many."""
    results: list[tuple[T, float]] = []
    while len(results) < len(faces):
        rest = faces[len(results) :]
        size = min(room.size, len(rest))
        made, went = shrink_on_oom(
            lambda size, rest=rest: _timed(forward, rest[:size]),  # type: ignore[misc]
            size=size,
            smallest=1,
            what=what,
        )
        if went < size:
            room.learn(went)
        results += made
    return results


def _timed(forward: Callable[[Sequence[FloatImage]], list[T]], faces: Sequence[FloatImage]) -> list[tuple[T, float]]:
    started = time.perf_counter()
    # The results are arrays on the CPU, so the device has done its work when they are there.
    made = forward(faces)
    share = (time.perf_counter() - started) / len(faces)
    return [(one, share) for one in made]
