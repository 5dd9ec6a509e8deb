"""Aligned faces through a network, a few at a time, and fewer where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pipeline.device import shrink_on_oom
from pipeline.geometry import CROP_PX
from pipeline.types import Compute, FloatImage, Stage

T = TypeVar("T")

#: Faces in one forward. Batches gain nothing on a CPU (performance.md) and cost memory.
MAX_BATCH = {"cpu": 1, "cuda": 8}


def in_batches(
    forward: Callable[[Sequence[FloatImage]], list[T]],
    faces: Sequence[FloatImage],
    *,
    device: torch.device,
    compute: Compute,
    stage: Stage,
    passes: int = 1,
    on_fraction: Callable[[float], None],
) -> list[T]:
    """What ``forward`` gives for each face (512, 512, 3), in order; ``passes`` says how often it runs the network.

    Raises:
        OutOfMemory: a single face does not fit.
    """
    results: list[T] = []
    batch = MAX_BATCH.get(device.type, 1)
    while len(results) < len(faces):
        chunk = faces[len(results) : len(results) + batch]
        made, batch = compute(
            lambda chunk=chunk, batch=batch: shrink_on_oom(  # type: ignore[misc]
                lambda size: forward(chunk[:size]), size=min(batch, len(chunk)), smallest=1, what=f"{stage}: faces"
            ),
            stage=stage,
            megapixels=passes * len(chunk) * CROP_PX**2 / 1e6,
        )
        results += made
        on_fraction(len(results) / len(faces))
    return results
