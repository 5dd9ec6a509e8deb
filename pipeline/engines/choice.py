"""Which engine and precision a network may run in here, best first, and whether reduced precision pays at all.

Nothing is taken for granted of a machine: bfloat16 is twice as fast as float32 on a CPU that has instructions for it
and eight times slower on one that has not (both measured), so a small convolution is timed in both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from pipeline.arch.networks import Network, Runs
from pipeline.engines.eager import CudaGraphs, Eager
from pipeline.engines.port import Engine, EngineName, Way
from pipeline.engines.verdicts import Verdicts, machine
from pipeline.engines.vino import OpenVino
from pipeline.errors import UnsupportedOption
from pipeline.precision import Precision, computing

#: What a setting may say beside an engine's name.
AUTO = "auto"

#: Networks that run no slower by torch than by OpenVINO on a CPU, and so need no export. Measured in bfloat16 on two
#: cores of Zen 4, torch and OpenVINO: preview 33 and 34 ms a face, SRVGG 0.43 and 0.39 s for 256 px; BiSeNet's
#: pooling cannot be exported. (The small RetinaFace by torch makes a photo of the preview pack 5 % slower.)
PREFERS_TORCH = frozenset({"preview", "srvgg", "bisenet"})

#: How much faster reduced precision must be to be worth its errors. With native instructions it is 1.8 to 2.2 times as
#: fast, without them 0.1: whatever else the machine does, a measurement falls on the right side of this.
WORTH_IT = 1.25

#: The convolution that is timed: (channels, side in px), 4.8 GFLOP; how often, and how often at most.
PROBE, PROBE_RUNS, PROBE_RUNS_AT_MOST = (256, 64), 5, 60

#: Between these gains something disturbed the measurement: it goes on, and is not kept for other processes if it ends
#: there. With ten other processes on two cores, five runs gave anything from 0.9 to 26 where the gain is 4.
UNSURE = (0.6, 1.5)


class Engines:
    """The engines of one device, as one setting wishes them."""

    def __init__(
        self,
        device: torch.device,
        engines: Sequence[Engine] = (),
        *,
        reduced: Precision | None,
        cache: Path | None = None,
        prefers_torch: frozenset[str] = PREFERS_TORCH,
    ) -> None:
        """The engines as they are to be tried.

        Args:
            device: where networks run.
            engines: beside torch's, best first.
            reduced: the precision to try; None = float32 alone.
            cache: see ``choose``.
            prefers_torch: architectures that run by torch alone on a CPU.
        """
        self.device = device
        self._prefers_torch = prefers_torch if device.type == "cpu" else frozenset()
        self.verdicts = Verdicts(cache / "measured" if cache else None)
        self._engines: dict[EngineName, Engine] = {engine.name: engine for engine in (*engines, Eager(device))}
        self._reduced = reduced

    @classmethod
    def choose(cls, device: torch.device, *, wish: str = AUTO, cache: Path | None = None) -> Engines:
        """The engines that can be used here; ``wish`` names one that has to be, or is ``auto``.

        Args:
            device: where networks run.
            wish: ``auto``, ``torch``, ``openvino`` or ``cuda-graph``.
            cache: a folder for exported and compiled networks and measurements; None = nothing is kept.

        Raises:
            UnsupportedOption: the wished engine cannot be used here; the message says why.
        """
        found: list[Engine] = []
        for engine in every(device, cache):
            if engine.name is EngineName.TORCH or wish not in {AUTO, engine.name}:
                continue
            reason = engine.missing()
            if reason is None:
                found.append(engine)
            elif wish == engine.name:
                raise UnsupportedOption(f"engine {wish} cannot be used here: {reason}")
        if wish not in {AUTO, *EngineName}:
            raise UnsupportedOption(f"engine {wish!r} is unknown; {', '.join((AUTO, *EngineName))} are known")
        prefers_torch = PREFERS_TORCH if wish == AUTO else frozenset()
        return cls(device, found, reduced=native(device), cache=cache, prefers_torch=prefers_torch)

    def ways(self, network: Network, *, exact: bool, seeded: bool = False) -> Iterator[Way]:
        """How this network may be run, best first; the last is always the reference.

        Args:
            network: which one.
            exact: float32 only.
            seeded: with noise maps of a seed, which not every engine takes. Device work.
        """
        names = [name for name, engine in self._engines.items() if engine.takes_noise or not seeded]
        if network.architecture in self._prefers_torch:
            names = [EngineName.TORCH]
        precisions = [Precision.FLOAT32]
        if self._reduced and not exact and self.pays():
            precisions.insert(0, self._reduced)
        yield from (Way(engine=name, precision=precision) for precision in precisions for name in names)

    def every_way(self) -> tuple[Way, ...]:
        """All ways to run a network here, whatever they are worth."""
        precisions = (Precision.FLOAT32,) if self._reduced is None else (self._reduced, Precision.FLOAT32)
        return tuple(Way(engine=name, precision=one) for name in self._engines for one in precisions)

    def gain(self) -> float | None:
        """How many times faster a convolution is in reduced precision, measured once; None = there is none to try."""
        if self._reduced is None:
            return None
        reduced = self._reduced
        words = machine(self.device) | {"measure": "speed of a convolution", "precision": reduced, "probe": PROBE}
        low, high = UNSURE
        return self.verdicts.measured(
            words, lambda: gain(self.device, reduced), is_sure=lambda measured: not low < measured < high
        )

    def pays(self) -> bool:
        """Whether reduced precision is faster here. Device work."""
        measured = self.gain()
        return measured is not None and measured >= WORTH_IT

    def runs(self, network: Network, way: Way) -> Runs:
        """The network in this way, loaded once. Device work.

        Raises:
            EngineUnfit: the engine cannot run it.
        """
        if way not in network.runs:
            network.runs[way] = self._engines[way.engine].load(network, way.precision)
        return network.runs[way]

    def version(self, name: EngineName) -> str:
        """Of the library that computes."""
        return self._engines[name].version


def every(device: torch.device, cache: Path | None) -> tuple[Engine, ...]:
    """All engines that there are, usable here or not, best first."""
    return CudaGraphs(device), OpenVino(device, cache=cache), Eager(device)


def native(device: torch.device) -> Precision:
    """The reduced precision that is worth a try on this device.

    bfloat16 has float32's range; GFPGAN is known not to fit into float16's, which older GPUs have alone: there the
    canary refuses it, and the other networks gain.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision.FLOAT16
    return Precision.BFLOAT16


def gain(device: torch.device, reduced: Precision) -> float:
    """How many times faster a convolution is in reduced precision than in float32, the best of some runs each."""
    width, side = PROBE
    layer = nn.Conv2d(width, width, 3, padding=1).to(device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
    picture = torch.zeros(1, width, side, side, device=device).contiguous(memory_format=torch.channels_last)
    for precision in (Precision.FLOAT32, reduced):
        _seconds(layer, picture, precision)  # chooses and loads kernels
    plain = fast = math.inf
    for runs in range(1, PROBE_RUNS_AT_MOST + 1):
        # In turn, so that whatever else the machine does falls on both.
        plain = min(plain, _seconds(layer, picture, Precision.FLOAT32))
        fast = min(fast, _seconds(layer, picture, reduced))
        if runs >= PROBE_RUNS and not UNSURE[0] < plain / fast < UNSURE[1]:
            break
    return plain / fast


def _seconds(layer: nn.Module, picture: torch.Tensor, precision: Precision) -> float:
    started = time.perf_counter()
    with computing(picture.device, precision):
        # Summed and read, so that a GPU has done it.
        float(functional.leaky_relu(layer(picture)).float().sum())
    return time.perf_counter() - started
