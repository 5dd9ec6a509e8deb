"""What ``torchrun`` tells each process that it starts, read from the environment in this one place."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """This process' place among those that train together."""

    rank: int  #: among all nodes' processes, from 0
    local_rank: int  #: on this node: the number of its GPU
    world: int  #: processes in all


def launch() -> Launch | None:
    """What torchrun said; None = it did not start this process."""
    world = os.environ.get("WORLD_SIZE")
    if world is None:
        return None
    rank = int(os.environ.get("RANK", "0"))
    return Launch(rank=rank, local_rank=int(os.environ.get("LOCAL_RANK", "0")), world=int(world))
