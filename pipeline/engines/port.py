"""What an engine must do, and how what it does is named."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.arch.networks import Network, Runs
from pipeline.precision import Precision


class EngineName(StrEnum):
    """What records and ``photomend engines`` say."""

    TORCH = "torch"  #: as it is: operation by operation
    CUDA_GRAPH = "cuda-graph"  #: torch's operations, recorded once and replayed by the GPU without Python
    OPENVINO = "openvino"  #: exported once, compiled for this CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a network is run."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


#: What every machine has and everything else is compared with.
REFERENCE = Way(engine=EngineName.TORCH, precision=Precision.FLOAT32)


class EngineUnfit(RuntimeError):
    """Raised when an engine cannot run a network: it knows not all of its operations, or its export failed."""


class Engine(Protocol):
    """Runs networks on one device. All calls but ``missing`` are device work."""

    name: EngineName
    takes_noise: bool  #: whether what it runs takes noise maps, so that a seed means something

    @property
    def version(self) -> str:
        """Of the library that computes."""

    def missing(self) -> str | None:
        """Why it cannot be used here; None = it can."""

    def load(self, network: Network, precision: Precision) -> Runs:
        """The network, ready to run.

        Raises:
            EngineUnfit: this engine cannot run this network.
        """
