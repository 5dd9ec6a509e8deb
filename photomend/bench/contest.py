"""What a benchmark is made of: contests between sides over cases, trials of one's own, and the rows they fill.

A module of rows has ``CONTESTS`` or ``TRIALS`` (or both)::

    def _prepare(place: Workshop) -> Runner:
        picture = ...                      # not timed; imports and loads
        def run(case: str) -> Ran:         # timed
            return Ran(output=paste(picture))
        return run

    CONTESTS = (
        Contest(
            name="paste",
            sides=duel(upstream=_prepare_upstream, ours=_prepare),
            rows=(RowPlan(name="paste-24mp", promises=(at_least("ratio", 40), at_most("extra_mb", 100))),),
        ),
    )

Each side is a process of its own that stays for the whole contest; they are handed each case in turn (A, B, C, A, …),
after a run each that does not count. Upstream runs twice: with the allocator as it is, and tuned as ours. A side that
dies is left out, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPSTREAM, UPSTREAM_TUNED, OURS = "upstream", "upstream_tuned", "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where a benchmark works; the same for all its processes."""

    folder: Path  #: its own: seeded weights, pictures that it made, results
    photos: Path | None = None  #: of whole_*.jpg and whole_*.png; None = made ones
    weights: Path | None = None  #: of released weights, where they are real
    is_full: bool = False  #: more repeats and cases

    @property
    def seeded(self) -> Path:
        """The folder of full-size networks with seeded weights."""
        return self.folder / "weights"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """What one run gave."""

    #: (H, W, 3) uint8, or anything with values in 0 to 255, to be compared; a function of it is not timed.
    output: NDArray[Any] | Callable[[], NDArray[Any]] | None = None
    stages: Mapping[str, float] = field(default_factory=dict)  #: seconds
    how: Mapping[str, str] = field(default_factory=dict)  #: network → engine and precision that it ran in
    seconds: float | None = None  #: where the run knows better than its clock, such as of a process that it started
    peak_mb: float | None = None  #: the same

    def pixels(self) -> NDArray[Any] | None:
        """The output itself."""
        return self.output() if callable(self.output) else self.output


Runner = Callable[[str], Ran]
Prepare = Callable[[Workshop], Runner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One competitor."""

    prepare: Prepare  #: called once in its process
    is_tuned: bool = True  #: whether the process starts with the allocator set up as ``photomend`` does
    counts: bool = True  #: False = runs each case once, before the others start, only to be compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a row must reach: a figure of its JSON, and a limit."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.figure} ≥ {self.at_least:g}" if self.at_least is not None else f"{self.figure} ≤ {self.at_most:g}"
        )

    def is_kept(self, figures: Mapping[str, Any]) -> bool | None:
        """None: the figure was not measured."""
        value = figures.get(self.figure)
        if value is None:
            return None
        return bool(value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0))


def at_least(figure: str, limit: float) -> Promise:
    return Promise(figure=figure, at_least=limit)


def at_most(figure: str, limit: float) -> Promise:
    return Promise(figure=figure, at_most=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """One row: which side of the contest is ours, over which of its cases."""

    name: str
    cases: tuple[str, ...] = ()  #: () = all
    ours: str = OURS
    promises: tuple[Promise, ...] = ()
    like: str | None = (
        None  #: the side of ours whose pictures ours must resemble: ``own_max_abs_diff``, ``own_psnr_db``
    )
    note: str = ""  #: what a reader must know


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Sides, cases, and the rows that they fill."""

    name: str
    sides: Mapping[str, Side]
    rows: tuple[RowPlan, ...]
    cases: tuple[str, ...] = ("all",)
    once: tuple[str, ...] = ()  #: cases that cost so much that they are run once, without a run before
    warm: str | None = None  #: a small case of no row, for the run that does not count; None = the first one's
    about_s: float = 60.0  #: what it takes on two cores; its share of the time, and of the estimate
    repeats: int = 2
    full_repeats: int = 5
    set_up: Callable[[Workshop], None] | None = None  #: called once before, in a process of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A row that measures in its own way, in a process of its own, and gives its figures."""

    name: str
    measure: Callable[[Workshop], Mapping[str, Any]]
    promises: tuple[Promise, ...] = ()
    about_s: float = 60.0  #: see ``Contest``
    note: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)  #: of its process, beside the tuned allocator


def duel(*, upstream: Prepare, ours: Prepare) -> dict[str, Side]:
    """The usual sides: upstream with the default and with the tuned allocator, and ours."""
    return {
        UPSTREAM: Side(prepare=upstream, is_tuned=False),
        UPSTREAM_TUNED: Side(prepare=upstream),
        OURS: Side(prepare=ours),
    }
