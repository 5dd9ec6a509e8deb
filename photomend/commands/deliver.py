"""``photomend restore --report``: a folder as one delivery; ``photomend deliver``: what is handed over of it."""

from __future__ import annotations

import functools
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from photomend import exits
from photomend.commands.bag import PROGRAM, bag, version
from photomend.commands.local import checked_options, load_networks, refuse

if TYPE_CHECKING:
    from jobs.delivery.summary import Summary
    from jobs.options import JobOptions
    from photomend.delivery.display import Display
    from photomend.delivery.done import Recipe
    from photomend.delivery.manifest import Entry
    from photomend.delivery.run import Delivery, Lane
    from photomend.terminal import Terminal
    from pipeline.codec import Limits

app = typer.Typer(no_args_is_help=True, help="Hand over what `photomend restore --report` made.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderJob:
    """A folder to restore as one delivery, as said."""

    paths: list[Path]
    out: Path
    manifest: Path | None
    recursive: bool
    overwrite: bool
    at_once: int | None  #: None = by the device
    weights_dir: Path | None
    device: str | None
    engine: str | None


def restore_folder(job: FolderJob, words: Mapping[str, Any], *, as_json: bool) -> None:
    """Restore everything that the manifest or the folder names, with a report at the end, however it ends.

    Raises:
        typer.Exit: 1 where a picture failed or nothing could be begun, 130 after Ctrl-C.
        typer.BadParameter: the command line makes no delivery.
    """
    from jobs.kinds import Kind
    from photomend.files import FileRefused
    from photomend.terminal import Terminal
    from pipeline.errors import PipelineError

    terminal, options = Terminal(), checked_options(Kind.RESTORE, words)
    if missing := {"image", "provenance"} - set(options.outputs):
        raise typer.BadParameter(f"a report needs --outputs with {' and '.join(sorted(missing))}: they prove results")
    try:
        run = _prepared(job, options, terminal)
        summary, interrupted = run()
    except (FileRefused, PipelineError) as error:
        raise refuse(terminal, error) from error
    except OSError as error:
        terminal.fail(f"{error.filename or job.out}: {error.strerror or type(error).__name__}.", "output_unusable")
        raise typer.Exit(exits.FAILED) from error
    run.display.summary(summary, folder=run.report_folder)
    if as_json:
        told = {"rows": summary.rows, "statuses": dict(summary.statuses), "report": str(run.report_folder)}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    if interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if summary.statuses["failed"] or summary.statuses["canceled"]:
        raise typer.Exit(exits.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A delivery that is ready to be worked on."""

    delivery: Delivery
    lane: Lane
    display: Display
    folder: Path
    limits: Limits

    @property
    def report_folder(self) -> Path:
        from photomend.delivery.report import FOLDER

        return self.delivery.out / FOLDER

    def __call__(self) -> tuple[Summary, bool]:
        """What the rows come to, and whether Ctrl-C ended it."""
        started, interrupted = time.monotonic(), False
        try:
            with _term_as_interrupt(), self.display.following(len(self.delivery.entries)):
                self.delivery.run(self.display.told)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            # However it ends, every line of the manifest is accounted for.
            summary = self._report(time.monotonic() - started)
            self.lane.close()
            self.delivery.journal.close()
        return summary, interrupted

    def _report(self, elapsed_s: float) -> Summary:
        from jobs.delivery.html import Heading
        from jobs.delivery.premis import Origin
        from photomend.delivery import report, sheet

        options, out, now = self.delivery.mender.options, self.delivery.out, datetime.now(UTC)
        recipe, release = self.delivery.recipe_of(options), version()
        origin = Origin(program=PROGRAM, version=release, made_at=now.isoformat(timespec="seconds"))
        heading = Heading(
            title=self.folder.resolve().name,
            source=str(self.folder),
            output=str(out),
            made_by=f"{PROGRAM} {release}",
            made_at=origin.made_at,
            recipe=recipe.resolved | {"recipe_sha256": recipe.sha256},
            elapsed_s=elapsed_s,
            beside=(report.CSV, report.JSON_LINES, report.PREMIS, report.CHECKSUMS),
        )
        pictures = functools.partial(sheet.samples, folder=self.folder, out=out, limits=self.limits, page=options.page)
        return report.write(
            self.delivery.rows(),
            expected=len(self.delivery.entries),
            out=out,
            heading=heading,
            origin=origin,
            pictures=pictures,
        )


def _prepared(job: FolderJob, options: JobOptions, terminal: Terminal) -> _Run:
    """Everything checked that can be checked before the first picture.

    Raises:
        FileRefused, PipelineError, OSError: nothing can be begun; see the messages.
    """
    from photomend.delivery.display import Display
    from photomend.delivery.journal import Journal
    from photomend.delivery.run import Delivery, Lane
    from photomend.files import Flat
    from photomend.mending import Mender
    from pipeline.codec import Limits
    from worker.mapping import restore_options

    folder = _folder(job)
    entries = _entries(job, folder, options)
    with terminal.busy("loading the networks"):
        restorer, max_pixels = load_networks(job.weights_dir, job.device, job.engine)
        restorer.require(restore_options(options))
    on_cpu = str(restorer.describe(restore_options(options))["engine"]).endswith("-cpu")
    lane, limits, display = Lane(), Limits(max_pixels=max_pixels), Display(terminal.console)
    journal = Journal(job.out)
    mender = Mender(
        restorer=restorer,
        options=options,
        layout=Flat(folder=job.out, suffix=options.suffix),
        limits=limits,
        overwrite=job.overwrite,
        resumes=True,
        compute=lane,
        staging=journal.staging,
    )

    @functools.cache
    def recipe_of(wanted: JobOptions) -> Recipe:
        from photomend.delivery.done import Recipe

        return Recipe(options=wanted, model=restorer.describe(restore_options(wanted)))

    delivery = Delivery(
        entries=entries,
        mender=mender,
        journal=journal,
        out=job.out,
        recipe_of=recipe_of,
        at_once=job.at_once or (1 if on_cpu else 2),
        on_begin=display.begin,
    )
    return _Run(delivery=delivery, lane=lane, display=display, folder=folder, limits=limits)


def _folder(job: FolderJob) -> Path:
    """The one folder of sources.

    Raises:
        FileRefused: the results' folder is at, under or above it.
    """
    from photomend.files import FileRefused, require_apart

    if len(job.paths) != 1:
        raise typer.BadParameter("a delivery is of one folder; name just that", param_hint="IN")
    folder = job.paths[0]
    if not folder.exists():
        raise FileRefused("input_not_found", f"There is no folder {folder}.")
    if not folder.is_dir():
        raise typer.BadParameter(f"a delivery is of a folder; {folder} is none", param_hint="IN")
    require_apart(folder, job.out)
    return folder


def _entries(job: FolderJob, folder: Path, options: JobOptions) -> list[Entry]:
    from jobs.delivery.errors import ManifestUnreadable
    from photomend.delivery import manifest
    from photomend.files import FileRefused

    if job.manifest is None:
        entries = manifest.of_folder(folder, recursive=job.recursive)
        if not entries:
            hint = "" if job.recursive else "; --recursive looks into its subfolders"
            raise FileRefused("no_pictures", f"There are no pictures in {folder}{hint}.")
        return entries
    try:
        return manifest.of_file(job.manifest, folder=folder, options=options)
    except ManifestUnreadable as error:
        raise FileRefused(error.code, f"{error.public} {error}.") from error
    except OSError as error:
        raise FileRefused("manifest_unreadable", f"{job.manifest}: {error.strerror}.") from error


@contextmanager
def _term_as_interrupt() -> Iterator[None]:
    """A machine that is shut down ends a delivery as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@app.callback()
def _root() -> None:
    """Hand over what `photomend restore --report` made."""


app.command("bag")(bag)
