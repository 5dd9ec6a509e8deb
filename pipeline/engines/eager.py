"""torch as it is, and torch's CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.arch.networks import Network, Runs
from pipeline.device import place
from pipeline.engines.port import EngineName, EngineUnfit
from pipeline.precision import Precision, computing

#: How many shapes of input one network keeps recorded: a picture's tiles have up to nine, batches of faces up to eight.
KEPT_GRAPHS = 16

#: Runs before a recording, in which libraries choose and load their kernels. Source: torch's notes on CUDA graphs.
WARM_UP_RUNS = 2


class Eager:
    """The ``Engine`` that every machine has: torch, operation by operation, weights in channels-last order."""

    name = EngineName.TORCH
    version = torch.__version__
    takes_noise = True

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def missing(self) -> str | None:
        return None

    def load(self, network: Network, precision: Precision) -> Runs:
        return _Eager(place(network.module, self._device), self._device, precision)


class _Eager:
    def __init__(self, module: nn.Module, device: torch.device, precision: Precision) -> None:
        self._module, self._device, self._precision = module, device, precision

    def __call__(self, batch: Tensor, **more: Any) -> Tensor:
        with computing(self._device, self._precision):
            result: Tensor = self._module(batch.to(self._device), **more)
            return result


class CudaGraphs:
    """The ``Engine`` that records a network's work on a GPU once and replays it: the CPU no longer limits small layers.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    name = EngineName.CUDA_GRAPH
    version = torch.__version__
    takes_noise = False

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def missing(self) -> str | None:
        return None if self._device.type == "cuda" else "it needs a GPU that torch sees"

    def load(self, network: Network, precision: Precision) -> Runs:
        """The network, to be recorded for each shape when it is first seen.

        Raises:
            EngineUnfit: nearly every shape is seen once.
        """
        if network.sizes_vary:
            raise EngineUnfit(f"{network.architecture} sees pictures of all sizes; a recording serves one")
        return _Graphs(place(network.module, self._device), self._device, precision)


class _Graphs:
    """One network's recordings, one for each shape of input; the longest unused is dropped."""

    def __init__(self, module: nn.Module, device: torch.device, precision: Precision) -> None:
        self._module, self._device, self._precision = module, device, precision
        self._recorded: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, batch: Tensor, **_: Any) -> Tensor:
        batch = batch.to(self._device)
        shape = tuple(batch.shape)
        recorded = self._recorded.pop(shape) if shape in self._recorded else self._record(batch)
        self._recorded[shape] = recorded
        while len(self._recorded) > KEPT_GRAPHS:
            del self._recorded[next(iter(self._recorded))]
        with torch.inference_mode():
            graph, given, made = recorded
            given.copy_(batch)
            graph.replay()
            return made.clone()  # the next replay writes into the same memory

    def _record(self, batch: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        # No cache of cast weights: it would be emptied while the recording still reads from it.
        with computing(self._device, self._precision, cache_weights=False):
            given = batch.clone(memory_format=torch.channels_last)
            side = torch.cuda.Stream(self._device)
            side.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_RUNS):
                    self._module(given)
            torch.cuda.current_stream(self._device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                made: Tensor = self._module(given)
        return graph, given, made
