"""Training checkpoints: written whole or not at all, read as tensors only."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import WeightsCorrupt, WeightsMissing
from pipeline.weights import read_checkpoint_file


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that a run needs to continue; samples are functions of the step, so no generator state is kept."""

    step: int  #: steps done
    seed: int
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces ``path`` at once: a killed run leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        torch.save(asdict(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at ``path``.

    Raises:
        WeightsMissing: no such file.
        WeightsCorrupt: not a checkpoint of ours.
    """
    if not path.is_file():
        raise WeightsMissing(f"no checkpoint at {path}; start without --resume")
    try:
        return Checkpoint(**read_checkpoint_file(path))
    except TypeError as err:
        raise WeightsCorrupt(f"{path} is not a training checkpoint: {err}") from err
