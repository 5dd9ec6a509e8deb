"""The processes that train together: one, or as many as ``torchrun`` started on one machine or several."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.device import pick
from pipeline.training.settings import launch

#: What keeps buffers from being sent before each step, as torch 2.13 and those before it call it: they are constants
#: (filters, noise), and what is written to between two uses has no gradient.
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process, and how many there are."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, network: nn.Module) -> nn.Module:
        """The network, on the device; in a group with gradients that are the mean of all processes'."""
        network = network.to(self.device)
        if self.world == 1 or not any(p.requires_grad for p in network.parameters()):
            return network
        ids = [self.device] if self.device.type == "cuda" else None
        words: dict[str, Any] = {"device_ids": ids, _BUFFERS: False}
        return DistributedDataParallel(network, **words)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, the same in each."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The group that torchrun made, or this process alone; left again at the end.

    GPUs talk by NCCL, CPUs by Gloo; ``device`` ``auto`` or ``cuda`` takes the GPU of the process' number on its node.

    Raises:
        UnsupportedOption: there is no such device here.
    """
    place = launch()
    chosen = pick(device)
    if place is None or place.world == 1:
        yield Processes(rank=0, world=1, device=chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(chosen)
    # Where the others are is torchrun's business: torch reads it from the environment itself ("env://").
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", device_id=_bound(chosen))
    try:
        yield Processes(rank=place.rank, world=place.world, device=chosen)
    finally:
        dist.destroy_process_group()


def _bound(device: torch.device) -> torch.device | None:
    return device if device.type == "cuda" else None
