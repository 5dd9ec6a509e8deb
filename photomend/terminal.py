"""What ``photomend restore`` shows: progress while it works, then what was found, how long it took, where it lies.

Everything goes to standard error; standard output is for ``--json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from photomend.mending import Failed, Mended

if TYPE_CHECKING:
    from photomend.files import Input
    from photomend.mending import Mender
    from pipeline.types import Stage

#: In the order in which they come; the bar of one picture moves by it.
_STAGES = ("decode", "detect", "align", "restore", "parse", "upsample", "blend", "encode")


class Terminal:
    """The user's terminal: standard error, unless told otherwise."""

    def __init__(self, *, file: TextIO | None = None, width: int | None = None) -> None:
        self.file = file
        self._console = Console(stderr=file is None, file=file, width=width, highlight=False)

    def fail(self, sentence: str, code: str) -> None:
        self._say(Text.assemble((sentence, "red"), f" [{code}]"))

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A spinner for a step that cannot say how far it is."""
        with self._console.status(f"{what} …"):
            yield

    def follow(self, sources: Sequence[Input], mender: Mender) -> list[Mended | Failed]:
        """Mend everything under progress bars; failures are shown as they come."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        outcomes: list[Mended | Failed] = []
        with Progress(*columns, console=self._console, transient=True) as progress:
            everything = progress.add_task("pictures", total=len(sources), visible=len(sources) > 1)
            bar = progress.add_task("", total=100)
            for outcome in mender.mend_all(sources, on_progress=lambda s: _Bar(progress, bar, s.path.name)):
                outcomes.append(outcome)
                progress.advance(everything)
                if isinstance(outcome, Failed) and len(sources) > 1:
                    self._failure(outcome)
        return outcomes

    def summary(self, outcomes: Sequence[Mended | Failed], out: Path) -> None:
        """What happened to all of it."""
        mended = [outcome for outcome in outcomes if isinstance(outcome, Mended)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        if len(outcomes) == 1:
            for one in mended:
                self._one(one)
            for other in failed:
                self._failure(other)
        else:
            self._many(mended, failed, out)
        self._notices(mended)

    def as_json(self, outcomes: Sequence[Mended | Failed]) -> str:
        """The same for programs."""
        return json.dumps({"pictures": [_as_json(outcome) for outcome in outcomes]}, indent=2, ensure_ascii=False)

    def _say(self, text: Text | str) -> None:
        self._console.print(text, soft_wrap=True)

    def _failure(self, failed: Failed) -> None:
        self._say(Text.assemble((f"{failed.source.path}: {failed.sentence}", "red"), f" [{failed.code}]"))

    def _one(self, mended: Mended) -> None:
        report = mended.report
        self._say(Text(f"{_faces([mended])}, {report.width:,} x {report.height:,} px", style="bold"))
        for face in report.faces:
            if face.reason:
                self._say(f"  face {face.index}: {face.status}, {face.reason}")
        self._say(_times([mended]))
        for path in mended.files.values():
            self._say(Text(f"  {path}", style="green"))

    def _many(self, mended: Sequence[Mended], failed: Sequence[Failed], out: Path) -> None:
        heading = f"{len(mended)} of {len(mended) + len(failed)} pictures mended, {_faces(mended)}"
        self._say(Text(heading, style="bold"))
        self._say(_times(mended))
        if mended:
            self._say(Text(f"  results in {out}", style="green"))
        if failed:
            table = Table("failed", "code", "why", box=None, padding=(0, 2, 0, 0), header_style="red")
            for one in failed:
                table.add_row(Text(str(one.source.path)), one.code, Text(one.sentence))
            self._console.print(table)

    def _notices(self, mended: Sequence[Mended]) -> None:
        """Each kind once, however many pictures it holds for."""
        notices = [notice for one in mended for notice in one.report.warnings]
        counts = Counter(notice.code for notice in notices)
        details = {notice.code: notice.detail for notice in notices}
        for code, count in counts.items():
            where = f" ({count} pictures)" if len(mended) > 1 else ""
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


def _faces(mended: Sequence[Mended]) -> str:
    """``3 faces found, 2 restored``."""
    found = [face for one in mended for face in one.report.faces if face.status != "rejected"]
    restored = sum(face.status == "restored" for face in found)
    return f"{len(found)} face{'' if len(found) == 1 else 's'} found, {restored} restored"


def _times(mended: Sequence[Mended]) -> str:
    """Seconds per stage over all pictures."""
    total: Counter[str] = Counter()
    for one in mended:
        total.update(one.report.seconds)
    stages = [f"{stage} {total[stage]:.2f} s" for stage in _STAGES if stage in total]
    return "  " + " · ".join([*stages, f"together {sum(total.values()):.2f} s"])


def _as_json(outcome: Mended | Failed) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        return {"input": str(outcome.source.path), "code": outcome.code, "detail": outcome.sentence}
    report = outcome.report
    return {
        "input": str(outcome.source.path),
        "files": {part: str(path) for part, path in outcome.files.items()},
        "width": report.width,
        "height": report.height,
        "faces": [dataclasses.asdict(face) for face in report.faces],
        "warnings": [dataclasses.asdict(notice) for notice in report.warnings],
        "seconds": report.seconds,
        "model": report.model,
    }
