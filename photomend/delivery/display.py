"""What a delivery shows while it runs: how many, how fast, until when; and what came of it. On standard error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jobs.delivery.rows import Row, Status
from jobs.delivery.summary import Summary
from photomend.delivery.manifest import Entry

#: Rates are of so many seconds: a scan may take one of them or a minute.
_WINDOW_S = 300.0


class _Rate(ProgressColumn):
    """Pictures a minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{60 * speed:.1f}/min", style="progress.data.speed")


class Display:
    """One line that moves, and a line for each failure."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._counts: Counter[str] = Counter()
        self._progress: Progress | None = None

    @contextmanager
    def following(self, entries: int) -> Iterator[None]:
        """Show progress while this is entered."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, speed_estimate_period=_WINDOW_S
        ) as self._progress:
            self._bar = self._progress.add_task("pictures", total=entries)
            yield

    def begin(self, entry: Entry) -> None:
        """A picture is taken up."""
        if self._progress is not None:
            self._progress.update(self._bar, description=_short(entry.source))

    def told(self, row: Row, *, worked: bool) -> None:
        """A picture has its row."""
        self._counts[row.status if worked else "kept"] += 1
        if self._progress is None:
            return
        if worked:
            self._progress.advance(self._bar)
        else:
            # What is done already takes no time, so that it must not make the rest look fast.
            total = self._progress.tasks[0].total or 0
            self._progress.update(self._bar, total=total - 1)
        if row.status is Status.FAILED:
            self.say(Text.assemble((f"{row.source}: {row.error}", "red"), f" [{row.error_code}]"))

    def summary(self, summary: Summary, *, folder: Path) -> None:
        """What came of it, and where the report is."""
        done = summary.statuses[Status.SUCCEEDED] + summary.statuses[Status.SKIPPED]
        words = [f"{done:,} of {summary.rows:,} pictures have a result"]
        if self._counts["kept"]:
            words.append(f"{self._counts['kept']:,} done already")
        for status, told in ((Status.FAILED, "failed"), (Status.CANCELED, "were not reached")):
            if summary.statuses[status]:
                words.append(f"{summary.statuses[status]:,} {told}")
        self.say(Text(", ".join(words), style="bold"))
        if summary.flagged_rows:
            self.say(f"  {summary.flagged_rows:,} to look at: see the report")
        if count := summary.warnings["preview_weights"]:
            note = f"{count:,} were made with the small preview weights; `photomend models fetch` gets released ones"
            self.say(Text.assemble(("note: ", "yellow"), f"{note} [preview_weights]"))
        self.say(Text(f"  report in {folder}", style="green"))

    def say(self, text: Text | str) -> None:
        self._console.print(text, soft_wrap=True)


def _short(name: str) -> str:
    return name if len(name) <= 40 else "…" + name[-39:]
