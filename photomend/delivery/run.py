"""A delivery's entries through the pipeline: what is done already is kept, every row is on disk before the next begins.

Files are read, decoded and written on a few threads; device work goes to one lane, which has all cores, so that a
network never waits for a codec. Ctrl-C stops between two steps of a picture; what was not reached is canceled.
"""

from __future__ import annotations

import dataclasses
import platform
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jobs.delivery.rows import DONE, Row, Status, of_faces, of_model
from jobs.options import JobOptions
from photomend.delivery.done import Recipe, kept, output_file
from photomend.delivery.journal import Journal
from photomend.delivery.manifest import Entry
from photomend.files import Input, sha256_of
from photomend.mending import Mender, safely
from photomend.outcomes import Failed, Finished

if TYPE_CHECKING:
    from pipeline.types import Stage

T = TypeVar("T")
#: How long Ctrl-C may wait to be noticed.
_LOOK_S = 0.5
NOT_REACHED = "The run ended before this picture was worked on; the same command goes on with it."


class Told(Protocol):
    """Hears of every entry that has its row; ``worked`` = it was worked on in this run."""

    def __call__(self, row: Row, *, worked: bool) -> None: ...


class Lane:
    """One thread for all device work; a ``Compute``."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")

    def __call__(self, work: Callable[[], T], *, stage: Stage, megapixels: float) -> T:
        del stage, megapixels
        return self._thread.submit(work).result()

    def close(self) -> None:
        self._thread.shutdown()


@dataclass(kw_only=True)
class Delivery:
    """All entries of one delivery, and how they are worked on."""

    entries: list[Entry]
    mender: Mender
    journal: Journal
    out: Path
    recipe_of: Callable[[JobOptions], Recipe]
    at_once: int = 1  #: pictures in work: while one computes, the others are read, decoded, encoded, written
    on_begin: Callable[[Entry], None] = lambda entry: None
    #: The journal's one file has one position.
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self, told: Told) -> None:
        """Work on every entry that has no verified result.

        Raises:
            KeyboardInterrupt: Ctrl-C; the pictures in work were stopped before.
            OSError: the journal cannot be written.
        """
        todo = iter(self.entries)
        following = next(todo, None)
        running: dict[Future[tuple[Row, bool]], Entry] = {}
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="picture") as pool:
            try:
                while True:
                    # The next is begun only when a row is on disk: no more than these are lost by a kill.
                    while following is not None and self._may_begin(following, running.values()):
                        running[pool.submit(self._one, following)] = following
                        following = next(todo, None)
                    if not running:
                        return
                    for future in wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED).done:
                        self._take(running.pop(future), future, told)
            except BaseException:
                self._stop.set()
                for future, entry in running.items():
                    self._take(entry, future, told)
                raise

    def _may_begin(self, entry: Entry, running: Collection[Entry]) -> bool:
        """A source that is named twice is worked on once: the second line finds the first one's result."""
        return len(running) < self.at_once and all(one.source != entry.source for one in running)

    def _take(self, entry: Entry, future: Future[tuple[Row, bool]], told: Told) -> None:
        row, is_new = future.result()
        if is_new and row.status is not Status.CANCELED and entry.fault is None:
            with self._looking:
                self.journal.write(entry, row)
        told(row, worked=is_new)

    def rows(self) -> Iterator[Row]:
        """Every entry's row, in the manifest's order; canceled where it was not reached."""
        for entry in self.entries:
            yield self._row(entry)

    def _row(self, entry: Entry) -> Row:
        if entry.fault is not None:
            return _failed(entry, *entry.fault)
        row, recipe = self.journal.find(entry), self._recipe(entry)
        if isinstance(recipe, Failed):
            return _failed(entry, recipe.code, recipe.sentence)
        if row is not None and row.recipe_sha256 == recipe.sha256 and row.status in DONE | {Status.FAILED}:
            return row
        return _canceled(entry)

    def _recipe(self, entry: Entry) -> Recipe | Failed:
        """What the entry's result is made by, or why it cannot be: options of its own may be beyond this machine."""
        options, source = entry.options or self.mender.options, entry.input or Input(path=Path(entry.source))
        return safely(source, lambda: self.recipe_of(options))

    def _one(self, entry: Entry) -> tuple[Row, bool]:
        """The entry's row, and whether it is news to the journal."""
        if entry.input is None:
            return _failed(entry, *(entry.fault or ("internal", ""))), True
        recipe = self._recipe(entry)
        if isinstance(recipe, Failed):
            return _failed(entry, recipe.code, recipe.sentence), True
        return self._worked(entry, entry.input, recipe)

    def _worked(self, entry: Entry, source: Input, recipe: Recipe) -> tuple[Row, bool]:
        if self._stop.is_set():
            return _canceled(entry), True
        before = self._before(entry)
        found = safely(source, lambda: self._kept(entry, source, before, recipe))
        if isinstance(found, Row):
            return found, found is not before
        if isinstance(found, Failed):
            return self._told_failure(entry, found, recipe), True
        self.on_begin(entry)
        outcome = safely(source, lambda: self.mender.mend(source, self._go_on, options=entry.options))
        if isinstance(outcome, Failed):
            return self._told_failure(entry, outcome, recipe), True
        return _succeeded(entry, outcome, recipe, out=self.out), True

    def _before(self, entry: Entry) -> Row | None:
        with self._looking:
            return self.journal.find(entry)

    def _kept(self, entry: Entry, source: Input, before: Row | None, recipe: Recipe) -> Row | None:
        mender = self.mender
        row = kept(entry, source, before, recipe, out=self.out, layout=mender.layout, replaces=mender.overwrite)
        if row is not None:
            self.mender.claim(self.out / output.key for output in row.outputs)
        return row

    def _told_failure(self, entry: Entry, failed: Failed, recipe: Recipe) -> Row:
        from pipeline.errors import Cancelled

        if failed.code == Cancelled.code:
            return _canceled(entry)
        return dataclasses.replace(
            _failed(entry, failed.code, failed.sentence),
            source_sha256=_readable_sha256(failed.source.path),
            recipe_sha256=recipe.sha256,
        )

    def _go_on(self, stage: Stage, fraction: float) -> None:
        from pipeline.errors import Cancelled

        del stage, fraction
        if self._stop.is_set():
            raise Cancelled("the run was interrupted")


def _succeeded(entry: Entry, finished: Finished, recipe: Recipe, *, out: Path) -> Row:
    report = finished.report
    return Row(
        number=entry.number,
        source=entry.source,
        status=Status.SUCCEEDED,
        source_sha256=report.input_sha256,
        recipe_sha256=recipe.sha256,
        outputs=tuple(output_file(part, path, out=out) for part, path in finished.files.items()),
        warnings=tuple(notice.code for notice in report.warnings),
        device=_machine(report.model),
        seconds=round(sum(report.seconds.values()), 3),
        completed_at=_now(),
        **of_faces([dataclasses.asdict(face) for face in report.faces]),
        **of_model(report.model),
    )


def _failed(entry: Entry, code: str, sentence: str) -> Row:
    return Row(
        number=entry.number,
        source=entry.source,
        status=Status.FAILED,
        error_code=code,
        error=sentence,
        completed_at=_now(),
    )


def _canceled(entry: Entry) -> Row:
    return Row(
        number=entry.number, source=entry.source, status=Status.CANCELED, error_code="canceled", error=NOT_REACHED
    )


def _readable_sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _machine(model: dict[str, Any]) -> str:
    """The GPU's name, or this machine's."""
    if "cuda" in str(model.get("engine")):
        import torch

        return torch.cuda.get_device_name()
    return platform.node()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
