"""How each network runs in a restoration: the best engine and precision whose canary lives, float32 in every doubt.

A canary is a picture that a network is shown in two ways, once for each network, machine and version: by torch in
float32, which is the reference, and in the way that is to be tried. If what it makes of it agrees, the way is used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import options
from pipeline.arch.networks import Network, Runs
from pipeline.device import is_lost, is_out_of_memory
from pipeline.engines.choice import Engines
from pipeline.engines.port import REFERENCE, Way
from pipeline.engines.verdicts import machine
from pipeline.precision import Precision, psnr
from pipeline.types import FloatImage, Notice

Given = TypeVar("Given")
Made = TypeVar("Made")

#: How well (dB) a network's reduced picture of the canary must agree with its float32 one: what ``auto`` owes for every
#: picture. The canary is as hard as the hardest photo: of 57 tiles of photos real SRVGG does the worst with 51.1 dB,
#: the median with 57, the canary with 51.5.
CANARY_PSNR = 50.0

#: The same for float32 by another engine: 0.03 levels of 255 in the mean, far inside the 2 that ``exact`` allows.
EXACT_PSNR = 80.0

#: Grain (standard deviation) of the canary's picture: more than any photo's, since grain is what reduced precision
#: blurs. With 0.03 real SRVGG agrees by 57 dB, with 0.2 by 50.
GRAIN = 0.15

#: Part of the key under which agreements are kept: raised when the canary's picture, what is made of it or a network's
#: order of operations changes.
CANARY_VERSION = 3

#: What a way gets that does not run at all (dB).
NOT_AT_ALL = float("-inf")

Look = Callable[[Runs], NDArray[Any]]


class Canary:
    """In which way one network may run; tried once in a process, and once on a machine that remembers."""

    def __init__(self, engines: Engines | None = None, *, exact: bool = False, seeded: bool = False) -> None:
        """Without engines it is the reference, by torch in float32."""
        self._engines = engines
        self._exact, self._seeded = exact, seeded
        self._decided: tuple[Way, Runs] | None = None
        self._lock = threading.Lock()

    def choose(self, network: Network, look: Look, *, device: torch.device, enough_db: float) -> tuple[Way, Runs]:
        """The way to run in, and the network in it; device work. ``look`` shows what it makes of ``sample``."""
        with self._lock:
            if self._decided is None:
                engines = self._engines or Engines(device, reduced=None)
                self._decided = self._best(engines, network, look, enough_db)
            return self._decided

    def _best(self, engines: Engines, network: Network, look: Look, enough_db: float) -> tuple[Way, Runs]:
        for way in engines.ways(network, exact=self._exact, seeded=self._seeded):
            enough = needed(way, enough_db)
            if way == REFERENCE:
                break
            agrees_db = agreement(engines, network, way, look)
            if agrees_db >= enough:
                return way, engines.runs(network, way)
        return REFERENCE, engines.runs(network, REFERENCE)


def needed(way: Way, enough_db: float) -> float:
    """How well (dB) a canary must agree in this way, where reduced precision has to by ``enough_db``."""
    return EXACT_PSNR if way.precision is Precision.FLOAT32 else enough_db


def agreement(engines: Engines, network: Network, way: Way, look: Look) -> float:
    """How well (dB) the network agrees in this way with the reference; remembered for networks from files. Device work.

    -inf where it does not run in this way.
    """
    if network.identity is None:
        return compared(engines, network, way, look)
    words = machine(engines.device) | {
        "measure": f"canary {CANARY_VERSION}",
        "weights": network.identity,
        "input": network.input_px,
        "way": str(way),
        "engine": engines.version(way.engine),
    }
    return engines.verdicts.measured(words, lambda: compared(engines, network, way, look))


def compared(engines: Engines, network: Network, way: Way, look: Look) -> float:
    """The same, measured now. Device work."""
    # The reference first: a fault of the program shows there, and is not taken for one of the precision.
    expected = look(engines.runs(network, REFERENCE))
    try:
        made = look(engines.runs(network, way))
    except RuntimeError as err:
        if is_out_of_memory(err) or is_lost(err):
            raise
        return NOT_AT_ALL  # an operator that does not know this precision or engine
    agrees_db = psnr(made, expected) if made.shape == expected.shape else NOT_AT_ALL
    return NOT_AT_ALL if np.isnan(agrees_db) else agrees_db


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome(Generic[Made]):
    """What a network made of one input."""

    value: Made
    fault: str | None  #: why it cannot be right


class Casting:
    """How one network runs in one restoration: in which way, and how often float32 had to step in.

    Without a canary it is torch in float32.
    """

    def __init__(self, canary: Canary | None = None) -> None:
        self._canary = canary or Canary()
        self.way = REFERENCE  #: that was used
        self.repeated = 0  #: results that reduced precision got wrong

    @property
    def precision(self) -> Precision:
        """That was used."""
        return self.way.precision

    @property
    def key(self) -> int:
        """Equal for castings of one network, device and wish, which may share a run."""
        return id(self._canary)

    def adopt(self, other: Casting) -> None:
        """Its inputs ran by another casting of the same key."""
        self.way = other.way

    def checked(
        self,
        network: Network,
        run: Callable[[Runs, Sequence[Given]], list[Made]],
        given: Sequence[Given],
        *,
        device: torch.device,
        look: Look,
        fault_of: Callable[[Made, Given], str | None],
        enough_db: float = CANARY_PSNR,
    ) -> list[Outcome[Made]]:
        """What ``run`` gives for each input, checked; what fails in reduced precision is run again alone in float32.

        Args:
            network: which one.
            run: what is made of inputs by the network in a way. Device work.
            given: the inputs.
            device: where.
            look: what the network makes of ``sample``, in [0, 1], whatever this restoration's options are.
            fault_of: why a result cannot be right for its input; None = it can.
            enough_db: how well the canary must agree in reduced precision.
        """
        self.way, runs = self._canary.choose(network, look, device=device, enough_db=enough_db)
        outcomes = _outcomes(run(runs, given), given, fault_of)
        if self.precision is not Precision.FLOAT32:
            for at, one in enumerate(given):
                if outcomes[at].fault:
                    plain = Engines(device, reduced=None).runs(network, REFERENCE)
                    outcomes[at : at + 1] = _outcomes(run(plain, [one]), [one], fault_of)
                    self.repeated += 1
        return outcomes


class Canaries:
    """The canaries of all networks on one device."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._canaries: dict[tuple[str, bool, bool], Canary] = {}

    def casting(self, name: str, wish: options.Precision, *, seeded: bool = False) -> Casting:
        """For one restoration by the network of this name, as ``precision`` wishes, with noise maps or without."""
        exact = wish == "exact"
        # setdefault is atomic, so that two threads share one.
        key = name, exact, seeded
        return Casting(self._canaries.setdefault(key, Canary(self._engines, exact=exact, seeded=seeded)))


def told(castings: Mapping[str, Casting], kind: str, device: torch.device) -> dict[str, str]:
    """What a record says of a network: torch and float32 for what did not run, or always runs so."""
    way = castings[kind].way if kind in castings else REFERENCE
    return {"engine": f"{way.engine}-{device.type}", "precision": str(way.precision)}


def _outcomes(
    made: Sequence[Made], given: Sequence[Given], fault_of: Callable[[Made, Given], str | None]
) -> list[Outcome[Made]]:
    return [Outcome(value=value, fault=fault_of(value, one)) for value, one in zip(made, given, strict=True)]


def sample(side: int) -> FloatImage:
    """The picture (side, side, 3) that networks are tried with: shades, edges, grain and something like a face.

    Always the same one: a picture of a job's own would let the first job of a process decide for the later ones.
    """
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    picture = np.stack([0.35 + 0.2 * x, 0.4 + 0.1 * y, 0.5 - 0.2 * x], axis=-1)
    picture[np.hypot(x / 0.6, y / 0.8) < 1] = (0.85, 0.65, 0.55)
    for centre, radius in (((-0.25, -0.06), 0.09), ((0.25, -0.06), 0.09), ((0, 0.45), 0.16)):
        picture[np.hypot(x - centre[0], (y - centre[1]) * 1.6) < radius] = (0.35, 0.15, 0.15)
    grain = np.random.default_rng(0).normal(0, GRAIN, picture.shape)
    return np.clip(picture + grain, 0, 1).astype(np.float32)


def fallback_notices(castings: Mapping[str, Casting]) -> tuple[Notice, ...]:
    """Where reduced precision got something wrong and float32 took over."""
    return tuple(
        Notice(
            code="precision_fallback",
            detail=f"the {kind}'s network gave {one.repeated} results in {one.precision} that could not be right; "
            "they were computed again in float32",
        )
        for kind, one in sorted(castings.items())
        if one.repeated
    )
