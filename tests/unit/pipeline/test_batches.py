"""Faces in batches: the same results in any, fewer where memory is short, and shared between pictures."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import batches
from pipeline.batches import in_batches
from pipeline.casting import Canary, Casting
from pipeline.device import pick
from pipeline.errors import OutOfMemory
from pipeline.forward import Rooms
from pipeline.restore import FaceRestorer
from pipeline.shelf import Shelf
from pipeline.types import Compute, FloatImage, Stage, compute_here
from tests.unit.pipeline import seeded
from worker.lane import Lane

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def rooms(monkeypatch: pytest.MonkeyPatch) -> Rooms:
    """A process that has learned nothing yet, on a device that takes four at once."""
    fresh = Rooms()
    monkeypatch.setattr(batches, "ROOMS", fresh)
    monkeypatch.setitem(batches.MAX_BATCH, "cpu", 4)
    return fresh


class Small:
    """A device that two faces fit onto."""

    def __init__(self, fits: int = 2) -> None:
        self.tried: list[int] = []
        self._fits = fits

    def __call__(self, faces: Sequence[FloatImage]) -> list[float]:
        self.tried.append(len(faces))
        if len(faces) > self._fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return [float(face[0, 0, 0]) for face in faces]


def faces(count: int) -> list[FloatImage]:
    return [np.full((2, 2, 3), n, np.float32) for n in range(count)]


def through(network: Small, count: int, *, compute: Compute = compute_here) -> list[float]:
    made = in_batches(
        network, faces(count), device=CPU, compute=compute, stage=Stage.RESTORE, key="net", on_fraction=lambda _: None
    )
    return [value for value, _ in made]


def test_a_batch_that_does_not_fit_is_halved_and_that_is_remembered() -> None:
    network = Small()
    assert through(network, 5) == [0, 1, 2, 3, 4]
    assert network.tried == [4, 2, 2, 1]
    again = Small()
    through(again, 3)
    assert again.tried == [2, 1]


def test_one_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(OutOfMemory):
        through(Small(fits=0), 1)


def test_equal_faces_are_restored_equally_in_any_batch_and_beside_other_pictures(tmp_path: Path) -> None:
    shelf = Shelf(seeded.store(tmp_path, "gfpgan-1.4"), pick("cpu"))
    rng, canary = np.random.default_rng(3), Canary()
    crops = [np.clip(rng.normal(0.5, 0.1, (512, 512, 3)), 0, 1).astype(np.float32) for _ in range(3)]

    def restored(some: Sequence[FloatImage], compute: Compute) -> list[FloatImage]:
        restorer = FaceRestorer(lambda: shelf.get("gfpgan-1.4"), shelf.device, Casting(canary))
        return [one.image for one in restorer(some, compute=compute) if one.image is not None]

    alone = [restored([crop], compute_here)[0] for crop in crops]
    lane, opened = Lane(floor_s=60, first_s=60), threading.Event()

    def compute(work, *, stage: Stage, megapixels: float):
        return lane.submit(work, megapixels=megapixels, label=stage.value).result(60)

    gate = lane.submit(lambda: opened.wait(60), megapixels=0, label="gate")
    found: dict[int, list[FloatImage]] = {}
    jobs = [(0, crops[:2]), (1, crops[2:])]
    threads = [
        threading.Thread(target=lambda n=n, some=some: found.update({n: restored(some, compute)})) for n, some in jobs
    ]
    for thread in threads:
        thread.start()
    while len(lane._waiting) < 2:
        threading.Event().wait(0.005)
    opened.set()
    for thread in threads:
        thread.join(60)
    assert gate.result(1)
    assert lane.figures().runs["restore"] == 1, "both pictures' faces went through together"
    assert lane.stop(timeout_s=5)
    together = [*found[0], *found[1]]
    assert len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert float(np.abs(one - other).max()) <= 1 / 255
