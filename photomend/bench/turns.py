"""Hands the sides of a contest the same work in turn, and keeps what was measured, also of a round cut short."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from photomend.bench.contest import UPSTREAM, UPSTREAM_TUNED, Contest, RowPlan, Workshop
from photomend.bench.processes import BenchFailed, Helper

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Measured:
    """One contest's figures so far."""

    rounds: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)  #: (side, case) → its runs
    extra_mb: dict[tuple[str, str], float] = field(default_factory=dict)  #: what the first run of all took on top
    outputs: dict[tuple[str, str], Path] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)  #: side → why it ended

    def seconds(self, side: str, case: str) -> list[float]:
        return [run["seconds"] for run in self.rounds.get((side, case), ())]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to run of a contest: some rows, at most so often, until a point in time."""

    module: str
    contest: Contest
    rows: tuple[RowPlan, ...]
    repeats: int
    until: float  #: by ``time.monotonic``; no further round begins that would probably end later
    has_upstream: bool = True

    @property
    def cases(self) -> tuple[str, ...]:
        wanted = {case for row in self.rows for case in (row.cases or self.contest.cases)}
        return tuple(case for case in self.contest.cases if case in wanted)

    def sides(self, case: str) -> tuple[str, ...]:
        """Those that run this case, in the contest's order."""
        rows = [row for row in self.rows if not row.cases or case in row.cases]
        wanted = {side for row in rows for side in (row.ours, row.like) if side}
        wanted |= {UPSTREAM, UPSTREAM_TUNED} if self.has_upstream else set()
        return tuple(side for side in self.contest.sides if side in wanted)


def compete(task: Task, place: Workshop, *, cores: int, say: Say, into: Measured) -> None:
    """Fill ``into``, run by run; a side that ends by itself is left out from then on, and named in its faults.

    Raises:
        BenchFailed: the set-up did.
    """
    _set_up(task, place, cores, say)
    stage = _Stage(task=task, place=place, cores=cores, say=say, into=into)
    # One after the other and gone before the others start: each holds gigabytes.
    for side in (side for side in stage.cases_of if not task.contest.sides[side].counts):
        with ExitStack() as stack:
            stage.enter(side, stack)
            for case in stage.cases_of[side]:
                stage.run(side, case, 1)
            stage.helpers.pop(side, None)
    with ExitStack() as stack:
        for side in (side for side in stage.cases_of if task.contest.sides[side].counts):
            stage.enter(side, stack)
        stage.warm_up()
        for number, took_s in _rounds(task):
            _round(stage, number)
            took_s.append(time.monotonic())


def _set_up(task: Task, place: Workshop, cores: int, say: Say) -> None:
    if task.contest.set_up is None:
        return
    say(f"{task.contest.name}: setting up")
    order = {"do": "set-up", "module": task.module, "name": task.contest.name}
    with Helper(f"{task.contest.name}/set-up", order, place, is_tuned=True, cores=cores) as helper:
        helper.answer()


@dataclass(kw_only=True)
class _Stage:
    """The sides of one contest that are still alive."""

    task: Task
    place: Workshop
    cores: int
    say: Say
    into: Measured
    helpers: dict[str, Helper] = field(default_factory=dict)

    @property
    def cases_of(self) -> dict[str, list[str]]:
        """Side → its cases, in the contest's order."""
        found: dict[str, list[str]] = {}
        for case in self.task.cases:
            for side in self.task.sides(case):
                found.setdefault(side, []).append(case)
        return found

    def is_of_use(self, case: str) -> bool:
        """Whether anybody whose row it is still lives."""
        return any(row.ours in self.helpers for row in self.task.rows if not row.cases or case in row.cases)

    def enter(self, side: str, stack: ExitStack) -> None:
        contest = self.task.contest
        self.say(f"{contest.name}: {side} prepares")
        order = {"do": "compete", "module": self.task.module, "name": contest.name, "side": side}
        tuned = contest.sides[side].is_tuned
        helper = Helper(f"{contest.name}/{side}", order, self.place, is_tuned=tuned, cores=self.cores)
        self.helpers[side] = stack.enter_context(helper)
        with self._without_the_dead(side):
            helper.answer()

    def warm_up(self) -> None:
        """A run of each side that does not count; what memory it took is told."""
        contest = self.task.contest
        warm = contest.warm or next((case for case in self.task.cases if case not in contest.once), None)
        if warm is None:
            return
        for side in tuple(self.helpers):
            if contest.warm or side in self.task.sides(warm):
                self.run(side, warm, None)

    def run(self, side: str, case: str, number: int | None) -> None:
        """Once, in the round of this number; without one it does not count. Nothing where the side is dead."""
        helper = self.helpers.get(side)
        if helper is None:
            return
        told = f"round {number}, {case}, {side}" if number else f"{side} warms up"
        self.say(f"{self.task.contest.name}: {told}")
        is_kept = case in self.task.cases and (side, case) not in self.into.outputs
        keep = _place_of(self.task, self.place, side, case) if is_kept else None
        with self._without_the_dead(side):
            run = helper.run(case, keep=keep)
            _keep(self.into, side, case, run)
            if number:
                self.into.rounds.setdefault((side, case), []).append(run)

    @contextmanager
    def _without_the_dead(self, side: str) -> Iterator[None]:
        try:
            yield
        except BenchFailed as error:
            del self.helpers[side]
            self.into.faults[side] = str(error)
            self.say(f"{self.task.contest.name}: {side} failed and is left out")


def _rounds(task: Task) -> Iterator[tuple[int, list[float]]]:
    """The rounds that there is time for, one at least."""
    longest_s = 0.0
    for number in range(task.repeats):
        began = time.monotonic()
        if number and began + longest_s > task.until:
            return
        ended: list[float] = []
        yield number, ended
        longest_s = max(longest_s, (ended or [time.monotonic()])[-1] - began)


def _round(stage: _Stage, number: int) -> None:
    contest = stage.task.contest
    for case in stage.task.cases:
        if (number and case in contest.once) or not stage.is_of_use(case):
            continue
        for side in _turned([side for side in stage.task.sides(case) if contest.sides[side].counts], number):
            stage.run(side, case, number + 1)


def _turned(sides: Sequence[str], number: int) -> tuple[str, ...]:
    """Each round begins with another side: what the machine does meanwhile must not strike the same one always."""
    at = number % max(1, len(sides))
    return (*sides[at:], *sides[:at])


def _keep(into: Measured, side: str, case: str, run: Mapping[str, Any]) -> None:
    into.extra_mb.setdefault((side, case), run["extra_mb"])
    if run["output"] is not None:
        into.outputs[side, case] = Path(run["output"])


def _place_of(task: Task, place: Workshop, side: str, case: str) -> Path:
    folder = place.folder / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{task.contest.name}-{side}-{case}.npy"
