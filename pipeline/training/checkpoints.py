"""Training checkpoints: written whole or not at all, read as tensors and plain values only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pipeline.errors import WeightsCorrupt, WeightsMissing
from pipeline.weights import read_checkpoint_file

#: What names a folder's checkpoints and their hashes.
INDEX = "checkpoints.json"


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
    save_at_once(path, asdict(checkpoint))


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


def save_at_once(path: Path, content: Any) -> str:
    """Replaces ``path`` at once by a file of tensors and plain values; its SHA-256."""
    return replace_at_once(path, lambda file: torch.save(content, file))


def replace_at_once(path: Path, write: Callable[[BinaryIO], object]) -> str:
    """Replaces ``path`` by what ``write`` writes, or leaves what was there; the new file's SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w+b") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    draft.replace(path)
    _settle(path.parent)
    return digest


def _settle(folder: Path) -> None:
    """Makes the folder's new name survive a power failure."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One checkpoint as the folder's index names it."""

    step: int
    file: str
    sha256: str


class CheckpointFolder:
    """A run's last checkpoints.

    The index is replaced after the file is written and before an older one is removed, so that whatever kills the
    run, the index names a whole file.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """One more; all but the last ``keep`` are removed."""
        path = self.folder / f"step-{step:08d}.pth"
        digest = save_at_once(path, state)
        before = [one for one in self.kept() if one.step < step]
        kept = [*before, Kept(step=step, file=path.name, sha256=digest)]
        stay = kept[-self.keep :]
        text = json.dumps([asdict(one) for one in stay], indent=1)
        replace_at_once(self.folder / INDEX, lambda file: file.write(text.encode()))
        for old in kept[: -self.keep]:
            (self.folder / old.file).unlink(missing_ok=True)
        return path

    def kept(self) -> list[Kept]:
        """What the index names, oldest first.

        Raises:
            WeightsCorrupt: the index is no index.
        """
        place = self.folder / INDEX
        try:
            return [Kept(**row) for row in json.loads(place.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as err:
            raise WeightsCorrupt(f"{place} cannot be read: {err}") from err

    def read(self) -> tuple[int, Any]:
        """The newest one that is there: its steps, and what was written.

        Raises:
            WeightsMissing: there is none.
            WeightsCorrupt: its hash is another one than when it was written.
        """
        there = [one for one in self.kept() if (self.folder / one.file).is_file()]
        if not there:
            raise WeightsMissing(f"no checkpoint in {self.folder}; start without --resume")
        newest = there[-1]
        path = self.folder / newest.file
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != newest.sha256:
            earlier = f"remove it to go on from step {there[-2].step}" if len(there) > 1 else "there is no earlier one"
            raise WeightsCorrupt(f"{path} has SHA-256 {digest} where {newest.sha256} was written; {earlier}")
        return newest.step, read_checkpoint_file(path)
