"""What each step sees, as a function of (seed, step, place in the whole batch) and of the data alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.training.errors import WrongData
from pipeline.training.gan.components import Landmarks
from pipeline.training.gan.options import Degradation
from pipeline.training.gan.sources import Source, picture
from pipeline.training.gan.spoil import spoiled
from pipeline.training.processes import Processes
from pipeline.types import FloatImage

#: Kinds of randomness, so that no two share their numbers.
ORDER, SAMPLE, NOISE, CODES = range(4)

#: Batches that each process prepares ahead.
AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a batch is divided: process ``rank`` of ``world`` takes places rank, rank + world, rank + 2 world, ...

    Interleaved, so that the discriminator's groups (picture i, i + B / group, ...) are the same pictures' however many
    processes there are, as long as the group divides each process' share.
    """

    batch: int  #: in all processes together
    rank: int
    world: int

    @property
    def share(self) -> int:
        """Pictures of one process."""
        return self.batch // self.world

    def places(self) -> range:
        """This process' places in the whole batch."""
        return range(self.rank, self.batch, self.world)


def split(batch: int, processes: Processes) -> Split:
    """This process' part of the batch.

    Raises:
        WrongData: the batch does not divide by the processes.
    """
    if batch % processes.world:
        raise WrongData(f"a batch of {batch} cannot be shared by {processes.world} processes equally")
    return Split(batch=batch, rank=processes.rank, world=processes.world)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples(Dataset[dict[str, Tensor]]):
    """Targets, and what they were spoiled to where ``degradation`` is given, by (step, place)."""

    source: Source
    side: int  #: px
    seed: int
    batch: int
    mirror: bool
    degradation: Degradation | None = None
    landmarks: Landmarks | None = None
    enlarge_eyes: float = 1

    def __getitem__(self, at: tuple[int, int]) -> dict[str, Tensor]:
        """``target`` and ``degraded`` (3, S, S) RGB in [-1, 1]; ``boxes`` (3, 4), see ``Landmarks``."""
        step, place = at
        rng = default_rng([self.seed, SAMPLE, step, place])
        index = self.picture_at(step * self.batch + place)
        target = picture(self.source, index, side=self.side)
        mirrored = self.mirror and rng.random() < 0.5
        if mirrored:
            target = np.ascontiguousarray(target[:, ::-1])
        sample = {}
        if self.degradation is not None:
            degraded, target = spoiled(target, self.degradation, rng)
            sample["degraded"] = to_signed(degraded)
        if self.landmarks is not None:
            boxes = self.landmarks.boxes(index, side=self.side, mirrored=mirrored, enlarge_eyes=self.enlarge_eyes)
            sample["boxes"] = torch.from_numpy(boxes)
        return sample | {"target": to_signed(target)}

    def picture_at(self, position: int) -> int:
        """The picture at this position of the endless order, in which each epoch is shuffled anew."""
        epoch, within = divmod(position, len(self.source.names))
        return int(_order(self.seed, epoch, len(self.source.names))[within])


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return default_rng([seed, ORDER, epoch]).permutation(count)


def to_signed(image: FloatImage) -> Tensor:
    """(3, H, W) in [-1, 1] from (H, W, 3) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) * 2 - 1


def batches(
    samples: Samples, part: Split, *, first: int, last: int, workers: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """This process' samples of each step from ``first`` up to ``last``, on the device, prepared ahead by workers."""
    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        samples,
        batch_sampler=_Steps(range(first, last), part),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_alone,
        # Its own, so that what is drawn elsewhere does not depend on how samples are prepared.
        generator=torch.Generator(),
    )
    for batch in loader:
        yield {name: values.to(device, non_blocking=True) for name, values in batch.items()}


@dataclass(frozen=True, slots=True)
class _Steps:
    """The indices of each step's samples."""

    steps: range
    part: Split

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(step, place) for place in self.part.places()] for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _alone(_: Any) -> None:
    """OpenCV without threads of its own in each of many processes."""
    cv2.setNumThreads(0)


def randomness(seed: int, kind: int, step: int, place: int, device: torch.device) -> torch.Generator:
    """A generator on the device whose numbers depend on these alone."""
    state = SeedSequence([seed, kind, step, place]).generate_state(1, np.uint64)
    # torch takes what fits a signed number.
    return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))


def noise_maps(sides: list[int], *, seed: int, step: int, part: Split, device: torch.device) -> list[Tensor]:
    """StyleGAN2's noise for this process' pictures: (B, 1, s, s) for each of the sides."""
    made = []
    for place in part.places():
        generator = randomness(seed, NOISE, step, place, device)
        made.append([torch.randn(1, side, side, generator=generator, device=device) for side in sides])
    return [torch.stack(maps) for maps in zip(*made, strict=True)]


def coin(seed: int, kind: int, step: int) -> Generator:
    """What all processes draw alike in a step."""
    return default_rng([seed, kind, step])
