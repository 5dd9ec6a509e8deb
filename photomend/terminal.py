"""What ``photomend restore`` shows: progress while it works, then what was found, how long it took, where it lies.

Everything goes to standard error; standard output is for ``--json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from photomend.outcomes import Failed, Finished

if TYPE_CHECKING:
    from photomend.files import Input
    from pipeline.restoration import Report
    from pipeline.types import OnProgress, Stage

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """Goes through pictures, one outcome after another, such as ``Mender.mend_all``."""

    def __call__(
        self, sources: Iterable[Input], *, on_progress: Callable[[Input], OnProgress]
    ) -> Iterable[T_co | Failed]: ...


#: In the order in which they come; the bar of one picture moves by it.
_STAGES = ("decode", "detect", "align", "restore", "parse", "identify", "upsample", "blend", "encode")


class Terminal:
    """The user's terminal: standard error, unless told otherwise."""

    def __init__(self, *, file: TextIO | None = None, width: int | None = None) -> None:
        self.file = file
        self._console = Console(stderr=file is None, file=file, width=width, highlight=False)

    @property
    def console(self) -> Console:
        """For what else is to be shown in the same place."""
        return self._console

    def fail(self, sentence: str, code: str) -> None:
        self._say(Text.assemble((sentence, "red"), f" [{code}]"))

    @contextmanager
    def counting(self, what: str) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
        """A bar: the first function says how many there will be, the second that one more is done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda total: progress.update(task, total=total), lambda: progress.advance(task)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A spinner for a step that cannot say how far it is."""
        with self._console.status(f"{what} …"):
            yield

    @contextmanager
    def steps(self, what: str, total: int | None) -> Iterator[Callable[[str], None]]:
        """A bar that goes on by one, and says what was done, each time it is told; ``total`` None = not known."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=total)

            def step(done: str) -> None:
                progress.update(task, advance=1, description=f"{what}: {done}")

            yield step

    def follow(self, sources: Sequence[Input], work: Work[T]) -> list[T | Failed]:
        """Do everything under progress bars; failures are shown as they come, but that of a single picture."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        outcomes: list[T | Failed] = []
        with Progress(*columns, console=self._console, transient=True) as progress:
            everything = progress.add_task("pictures", total=len(sources), visible=len(sources) > 1)
            bar = progress.add_task("", total=100)
            for outcome in work(sources, on_progress=lambda s: _Bar(progress, bar, s.path.name)):
                outcomes.append(outcome)
                progress.advance(everything)
                if isinstance(outcome, Failed) and len(sources) > 1:
                    self.failure(outcome)
        return outcomes

    def summary(self, outcomes: Sequence[Finished | Failed], out: Path) -> None:
        """What happened to all of it."""
        mended = [outcome for outcome in outcomes if isinstance(outcome, Finished)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        if len(outcomes) == 1:
            for one in mended:
                self._one(one)
            for other in failed:
                self.failure(other)
        else:
            self._many(mended, failed, out)
        self.notices([one.report for one in mended])

    def _say(self, text: Text | str) -> None:
        self._console.print(text, soft_wrap=True)

    def failure(self, failed: Failed) -> None:
        """Why one picture did not go through."""
        self._say(Text.assemble((f"{failed.source.path}: {failed.sentence}", "red"), f" [{failed.code}]"))

    def _one(self, mended: Finished) -> None:
        report = mended.report
        self._say(Text(f"{_faces([mended])}, {report.width:,} x {report.height:,} px", style="bold"))
        for face in report.faces:
            if face.reason:
                self._say(f"  face {face.id}: {face.status}, {face.reason}")
            for flag in face.review:
                self._say(f"  face {face.id}: look at it, {flag.reason}")
        self._say(_times([mended]))
        for path in mended.files.values():
            self._say(Text(f"  {path}", style="green"))

    def _many(self, mended: Sequence[Finished], failed: Sequence[Failed], out: Path) -> None:
        heading = f"{len(mended)} of {len(mended) + len(failed)} pictures mended, {_faces(mended)}"
        self._say(Text(heading, style="bold"))
        flagged = sum(bool(face.review) for one in mended for face in one.report.faces)
        if flagged:
            self._say(f"  {flagged} face{'' if flagged == 1 else 's'} to look at: see review in the provenance files")
        self._say(_times(mended))
        if mended:
            self._say(Text(f"  results in {out}", style="green"))
        if failed:
            table = Table("failed", "code", "why", box=None, padding=(0, 2, 0, 0), header_style="red")
            for one in failed:
                table.add_row(Text(str(one.source.path)), one.code, Text(one.sentence))
            self._console.print(table)

    def notices(self, reports: Sequence[Report]) -> None:
        """Each kind once, however many pictures it holds for."""
        notices = [notice for report in reports for notice in report.warnings]
        counts = Counter(notice.code for notice in notices)
        details = {notice.code: notice.detail for notice in notices}
        for code, count in counts.items():
            where = f" ({count} pictures)" if len(reports) > 1 else ""
            self._say(Text.assemble(("note: ", "yellow"), f"{details[code]}{where} [{code}]"))


class _Bar:
    """One picture's bar: told of stages, never falls."""

    def __init__(self, progress: Progress, task: TaskID, name: str) -> None:
        self._progress, self._task, self._name = progress, task, name
        self._done = 0.0
        progress.reset(task, description=name, total=100)

    def __call__(self, stage: Stage, fraction: float) -> None:
        self._done = max(self._done, 100 * (_STAGES.index(stage) + fraction) / len(_STAGES))
        self._progress.update(self._task, completed=round(self._done), description=f"{self._name}  {stage}")


def _faces(mended: Sequence[Finished]) -> str:
    """``3 faces found, 2 restored``."""
    found = [face for one in mended for face in one.report.faces if face.status != "rejected"]
    restored = sum(face.status == "restored" for face in found)
    return f"{len(found)} face{'' if len(found) == 1 else 's'} found, {restored} restored"


def _times(mended: Sequence[Finished]) -> str:
    """Seconds per stage over all pictures."""
    total: Counter[str] = Counter()
    for one in mended:
        total.update(one.report.seconds)
    stages = [f"{stage} {total[stage]:.2f} s" for stage in _STAGES if stage in total]
    return "  " + " · ".join([*stages, f"together {sum(total.values()):.2f} s"])
