"""Every way to run each network that is here, timed and compared: what ``photomend engines`` shows."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from pipeline import detect, parse, restore, upsample
from pipeline.arch.networks import Network, Runs
from pipeline.casting import CANARY_PSNR, NOT_AT_ALL, Look, agreement, compared, needed
from pipeline.detect import DETECTION_PSNR
from pipeline.engines.choice import Engines
from pipeline.engines.port import REFERENCE, Way
from pipeline.parse import MASK_PSNR
from pipeline.precision import psnr
from pipeline.shelf import Shelf
from pipeline.weights import Kind, WeightStore

#: What a network makes of the canary's picture, and how well (dB) reduced precision must agree, by what it is for.
LOOKS: dict[Kind, tuple[Callable[[Network, torch.device, Runs], NDArray[Any]], float]] = {
    Kind.RESTORER: (restore.look, CANARY_PSNR),
    Kind.DETECTOR: (detect.look, DETECTION_PSNR),
    Kind.PARSER: (parse.look, MASK_PSNR),
    Kind.UPSAMPLER: (upsample.look, CANARY_PSNR),
}

#: How often each way is timed; the best counts.
RUNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One network in one way."""

    network: str
    kind: Kind
    way: Way
    seconds: float | None  #: for the canary's picture; None = it does not run in this way
    agrees_db: float  #: with torch in float32
    needs_db: float  #: to be used
    used_for: tuple[str, ...]  #: of ``auto`` and ``exact``


def present(shelf: Shelf) -> tuple[str, ...]:
    """The networks here that are run by engines."""
    return tuple(str(one["name"]) for one in shelf.available() if Kind(one["kind"]) in LOOKS)


def trials(shelf: Shelf, engines: Engines, name: str) -> Iterator[Trial]:
    """The network of this name in every way. Device work.

    Raises:
        WeightsError: it cannot be loaded.
    """
    network, kind = shelf.get(name), shelf.entry(name).kind
    shows, enough_db = LOOKS[kind]
    look = functools.partial(shows, network, engines.device)
    chosen = {word: _chosen(engines, network, look, enough_db, exact=word == "exact") for word in ("auto", "exact")}
    for way in engines.every_way():
        agrees_db = float("inf") if way == REFERENCE else agreement(engines, network, way, look)
        yield Trial(
            network=name,
            kind=kind,
            way=way,
            seconds=None if agrees_db == float("-inf") else _seconds(engines, network, way, look),
            agrees_db=agrees_db,
            needs_db=needed(way, enough_db),
            used_for=tuple(word for word, chosen_way in chosen.items() if chosen_way == way),
        )


def fresh(shelf: Shelf, engines: Engines, name: str) -> Iterator[tuple[Way, float, float]]:
    """Each way in which jobs have the network of this name run, and how well (dB) it agrees and must agree.

    Measured now, whatever is remembered; of torch in float32: with itself. Device work.

    Raises:
        WeightsError: it cannot be loaded.
    """
    network = shelf.get(name)
    shows, enough_db = LOOKS[shelf.entry(name).kind]
    look = functools.partial(shows, network, engines.device)
    for way in dict.fromkeys(_chosen(engines, network, look, enough_db, exact=exact) for exact in (False, True)):
        yield way, compared(engines, network, way, look), needed(way, enough_db)


def agrees_with_the_cpu(shelf: Shelf, weights: WeightStore, name: str) -> float:
    """How well (dB) the network agrees on this device with itself on the CPU, both by torch in float32. Device work.

    Raises:
        WeightsError: it cannot be loaded.
    """
    shows, _ = LOOKS[shelf.entry(name).kind]
    made = []
    for one in (shelf, Shelf(weights, torch.device("cpu"))):
        network = one.get(name)
        made.append(shows(network, one.device, Engines(one.device, reduced=None).runs(network, REFERENCE)))
    here, there = made
    agrees_db = psnr(here, there) if here.shape == there.shape else NOT_AT_ALL
    return NOT_AT_ALL if math.isnan(agrees_db) else agrees_db


def _chosen(engines: Engines, network: Network, look: Look, enough_db: float, *, exact: bool) -> Way:
    return next(
        way
        for way in engines.ways(network, exact=exact)
        if way == REFERENCE or agreement(engines, network, way, look) >= needed(way, enough_db)
    )


def _seconds(engines: Engines, network: Network, way: Way, look: Look) -> float:
    runs = engines.runs(network, way)
    look(runs)  # compiles, and reads the weights

    def once() -> float:
        started = time.perf_counter()
        look(runs)
        return time.perf_counter() - started

    return min(once() for _ in range(RUNS))
