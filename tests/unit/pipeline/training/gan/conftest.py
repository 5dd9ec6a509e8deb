"""Runs of a size that takes moments: drawn pictures of 32 px in the place of faces, networks a sixteenth as wide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pipeline.arch import discriminators
from pipeline.training.gan import running
from pipeline.training.gan.options import PriorRun, RestorerRun
from pipeline.training.processes import Processes
from pipeline.training.textures import drawn

SIDE, PICTURES = 32, 6
ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_thread():
    """Other counts add up in another order, and many threads wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _narrow_component_discriminators(monkeypatch):
    """Their widths are fixed as published, which is most of the work of networks as small as these."""
    monkeypatch.setattr(discriminators, "COMPONENT_WIDTHS", (4, 8, 8, 16, 16))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        image = (drawn(np.random.default_rng(number), 64) * 255).astype(np.uint8)
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{number:08d}.png"), small)
    return folder


def parts(eye: float = 10.0) -> dict[str, Any]:
    """A picture's components as the seed project's script writes them: NumPy numbers in lists."""
    return {
        "left_eye": [np.float64(eye), np.float64(12), np.float64(4)],
        "right_eye": [np.float64(22), np.float64(12.5), np.float64(4)],
        "mouth": [np.float64(16), np.float64(24), np.float64(6)],
    }


@pytest.fixture(scope="session")
def landmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("landmarks") / "landmarks.pth"
    torch.save({f"{number:08d}": parts() for number in range(PICTURES)}, path)
    return path


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(name), dict)
        both[name] = merged(base[name], value) if nested else value
    return both


@pytest.fixture
def options(pictures: Path, landmarks: Path) -> dict[str, Any]:
    """A restorer's, with everything that needs no weights of others."""
    return {
        "seed": 5,
        "steps": 4,
        "batch": 4,
        "data": {"pictures": str(pictures), "size": SIDE, "landmarks": str(landmarks), "workers": 0},
        "generator": {"architecture": "gfpgan-bilinear", "style": 16, "narrow": 0.0625},
        "discriminator": {"narrow": 0.0625, "group": 2},
        "components": {},
        "losses": {"r1_every": 2},
        "every": {"curves": 1, "checkpoint": 2, "samples": 4},
    }


@pytest.fixture
def restorer(options: dict[str, Any]) -> Callable[..., RestorerRun]:
    return lambda **changes: RestorerRun.model_validate(merged(options, changes))


@pytest.fixture
def prior(options: dict[str, Any]) -> Callable[..., PriorRun]:
    base = {name: value for name, value in options.items() if name not in {"components", "losses"}}
    base |= {"kind": "prior", "losses": {"path_every": 2, "r1_every": 2}}
    return lambda **changes: PriorRun.model_validate(merged(base, changes))


def execute(run: RestorerRun | PriorRun, out: Path, **more: Any) -> running.Outcome:
    words: dict[str, Any] = {"processes": ALONE, "resume": False, "told": lambda step, row: None} | more
    return running.execute(run, out, **words)


def equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
