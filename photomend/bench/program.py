"""The whole of a benchmark: which rows, in which order, for how long, and what is left of it in the end."""

from __future__ import annotations

import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from photomend.bench.chart import chart
from photomend.bench.contest import Contest, RowPlan, Trial, Workshop
from photomend.bench.figures import BLANK, judged, row_of
from photomend.bench.machine import described
from photomend.bench.processes import BenchFailed, Helper
from photomend.bench.turns import Measured, Task, compete

#: The rows that come with the package.
MODULES = tuple(f"photomend.bench.rows.{name}" for name in ("roofline", "cold", "tiles", "folder", "service", "photos"))


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run."""

    place: Workshop
    modules: Sequence[str] = MODULES
    rows: Sequence[str] = ()  #: () = all
    repeats: int | None = None  #: None = each contest's own
    minutes: float | None = None  #: beyond these no round begins but each contest's first; None = no limit
    cores: int = 1
    has_upstream: bool = True
    say: Callable[[str], None] = lambda _: None
    keep: Callable[[Results], object] = lambda _: None  #: called whenever there is more


@dataclass(kw_only=True)
class Results:
    """What was found; also of a run that was interrupted or where something failed."""

    machine: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)  #: those that failed too, with the reason in ``failed``
    faults: list[str] = field(default_factory=list)
    is_interrupted: bool = True  #: until all is done
    seconds: float = 0.0

    def write(self, folder: Path) -> tuple[Path, Path]:
        """``latest.json`` and ``latest.svg``. Rows of an earlier run that this one did not measure are not kept."""
        folder.mkdir(parents=True, exist_ok=True)
        words = {
            **self.machine,
            "seconds": round(self.seconds),
            "interrupted": self.is_interrupted,
            "faults": self.faults,
            "rows": self.rows,
        }
        figures, picture = folder / "latest.json", folder / "latest.svg"
        figures.write_text(json.dumps(words, indent=2) + "\n")
        picture.write_text(chart(self.rows, machine=self.machine))
        return figures, picture


def known_rows(modules: Iterable[str]) -> tuple[str, ...]:
    """The names of all rows."""
    return tuple(row.name for _, found in _loaded(modules) for row in _rows(found))


def run(program: Program) -> Results:
    """Measure; Ctrl-C ends it and keeps what is done, and a row that fails loses no other."""
    clock = _Clock(program.minutes)
    results = Results(machine=described(program.cores))
    todo = [(module, found) for module, found in _loaded(program.modules) if _wanted(found, program.rows)]
    try:
        for number, (module, found) in enumerate(todo):
            share_s = clock.begin(found.about_s, left_s=sum(one.about_s for _, one in todo[number:]))
            program.say(f"{number + 1} of {len(todo)}: {found.name}; {clock.told}")
            _measure(module, found, program, results, until=time.monotonic() + share_s)
            clock.end(found.about_s)
            results.seconds = clock.seconds
            program.keep(results)
        results.is_interrupted = False
    except KeyboardInterrupt:
        program.say("interrupted")
    results.seconds = clock.seconds
    return results


class _Clock:
    """Shares the time between what is to come, and foretells the end by what was done."""

    def __init__(self, minutes: float | None) -> None:
        self._began = time.monotonic()
        self._until = self._began + minutes * 60 if minutes else float("inf")
        self._foreseen_s = 0.0
        self.told = ""

    def begin(self, about_s: float, *, left_s: float) -> float:
        """How long one of what is left may take (seconds)."""
        # A machine that took twice as long so far will go on so.
        pace = self.seconds / self._foreseen_s if self._foreseen_s else 1.0
        share_s = (self._until - time.monotonic()) * about_s / left_s
        # Rounds that have no time are left out.
        one_s, all_s = min(about_s * pace, max(0.0, share_s)), min(left_s * pace, max(0.0, share_s * left_s / about_s))
        self.told = f"about {one_s / 60:.1f} min, and {all_s / 60:.1f} to the end"
        return share_s

    def end(self, about_s: float) -> None:
        self._foreseen_s += about_s

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def _measure(module: str, found: Contest | Trial, program: Program, results: Results, *, until: float) -> None:
    try:
        if isinstance(found, Trial):
            results.rows.append(_tried(module, found, program))
        else:
            _compete(module, found, program, results, until=until)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are to be measured
        reason = str(error) if isinstance(error, BenchFailed) else f"{found.name}: {type(error).__name__}: {error}"
        results.faults.append(reason)
        done = {row["name"] for row in results.rows}
        results.rows += [_failed(row, reason) for row in _wanted(found, program.rows) if row.name not in done]


def _compete(module: str, found: Contest, program: Program, results: Results, *, until: float) -> None:
    repeats = program.repeats or (found.full_repeats if program.place.is_full else found.repeats)
    rows = _wanted(found, program.rows)
    task = Task(
        module=module, contest=found, rows=rows, repeats=repeats, until=until, has_upstream=program.has_upstream
    )
    measured = Measured()
    try:
        compete(task, program.place, cores=program.cores, say=program.say, into=measured)
    finally:
        made = [row_of(row, found, measured) for row in rows]
        results.rows += [row for row in made if row["ours_s"] is not None]
    results.faults += measured.faults.values()
    for row, figures in zip(rows, made, strict=True):
        if figures["ours_s"] is None:
            results.rows.append(_failed(row, measured.faults.get(row.ours, "no side that it needs was left")))


def _failed(row: RowPlan, reason: str) -> dict[str, Any]:
    return {"name": row.name, **BLANK, "failed": reason, "note": row.note, **judged(row.promises, BLANK)}


def _tried(module: str, trial: Trial, program: Program) -> dict[str, Any]:
    order = {"do": "measure", "module": module, "name": trial.name}
    words, cores = trial.environment, program.cores
    with Helper(trial.name, order, program.place, is_tuned=True, cores=cores, environment=words) as helper:
        figures = helper.answer()
    row = {"name": trial.name, **BLANK, **figures, "note": trial.note}
    return row | judged(trial.promises, row)


def _loaded(modules: Iterable[str]) -> Iterator[tuple[str, Contest | Trial]]:
    for name in modules:
        module = importlib.import_module(name)
        for found in (*getattr(module, "CONTESTS", ()), *getattr(module, "TRIALS", ())):
            yield name, found


def _rows(found: Contest | Trial) -> tuple[RowPlan, ...]:
    return (
        found.rows
        if isinstance(found, Contest)
        else (RowPlan(name=found.name, promises=found.promises, note=found.note),)
    )


def _wanted(found: Contest | Trial, names: Sequence[str]) -> tuple[RowPlan, ...]:
    return tuple(row for row in _rows(found) if not names or row.name in names)


def has_upstream() -> bool:
    """Whether the upstream pipeline is installed here."""
    return importlib.util.find_spec("gfpgan") is not None
