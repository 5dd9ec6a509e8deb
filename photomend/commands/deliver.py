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
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands.local import checked_options, load_networks, refuse

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.delivery.summary import Summary
    from jobs.options import JobOptions
    from photomend.delivery.bag import Contents
    from photomend.delivery.credentials import Credentials
    from photomend.delivery.display import Display
    from photomend.delivery.done import Recipe
    from photomend.delivery.manifest import Entry
    from photomend.delivery.run import Delivery, Lane
    from photomend.terminal import Terminal
    from pipeline.codec import Limits

app = typer.Typer(no_args_is_help=True, help="Hand over what `photomend restore --report` made.")

#: As reports and records name the program.
PROGRAM = "photomend"


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
        recipe, version = self.delivery.recipe_of(options), _version()
        origin = Origin(program=PROGRAM, version=version, made_at=now.isoformat(timespec="seconds"))
        heading = Heading(
            title=self.folder.resolve().name,
            source=str(self.folder),
            output=str(out),
            made_by=f"{PROGRAM} {version}",
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


@app.command("bag")
def bag(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The results' folder of `photomend restore --report`")],
    place: Annotated[Path, typer.Argument(metavar="BAG", help="Where the bag is to be; nothing may be there yet")],
    *,
    organization: Annotated[
        str | None, typer.Option(help="Who hands it over: --organization 'City Archive'", show_default=False)
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="Whom to ask: --contact 'A. Archivist'", show_default=False)
    ] = None,
    identifier: Annotated[
        str | None, typer.Option(help="Yours for the delivery: --identifier 2026-117", show_default=False)
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it holds", show_default=False)] = None,
    copies: Annotated[
        bool, typer.Option("--copy", help="Copy the files; without it they are hard links to OUT's where possible")
    ] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Even though lines of the manifest were not worked on")
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option("--c2pa-cert", help="Sign content credentials: PEM chain, the signer's first", show_default=False),
    ] = None,
    key: Annotated[Path | None, typer.Option("--c2pa-key", help="Its PEM key", show_default=False)] = None,
    sources: Annotated[
        Path | None,
        typer.Option(help="The folder that was restored: the credentials are made of it, too", show_default=False),
    ] = None,
) -> None:
    """Make a BagIt bag of a finished folder: results, records, report, PREMIS; verified by reading it back.

    What goes in is held against the checksums of the report, and everything is read once
    more when the bag is made. Lines that failed are in the report in the bag.

    Examples:
      photomend deliver bag mended/ bag-2026-117/

      photomend deliver bag mended/ /mnt/transfer/bag/ --organization "City Archive" --identifier 2026-117

      photomend deliver bag mended/ bag/ --c2pa-cert chain.pem --c2pa-key key.pem --sources scans/
    """
    from jobs.delivery.errors import DeliveryError
    from photomend.delivery import report
    from photomend.delivery.bag import Packing
    from photomend.files import FileRefused
    from photomend.terminal import Terminal

    terminal = Terminal()
    said = {
        "Source-Organization": organization,
        "Contact-Name": contact,
        "External-Identifier": identifier,
        "External-Description": description,
    }
    packing = Packing(
        out=out,
        place=place,
        info={name: " ".join(value.split()) for name, value in said.items() if value},
        program=PROGRAM,
        version=_version(),
        copies=copies,
        incomplete=incomplete,
    )
    try:
        packing.sign = _credentials(certificate, key, sources, out)
        with terminal.busy("packing and verifying"):
            contents = packing()
    except FileNotFoundError as error:
        if error.filename != str(out / report.FOLDER / report.JSON_LINES):
            raise
        terminal.fail(f"There is no report in {out}; make it by `photomend restore … -o {out} --report`.", "no_report")
        raise typer.Exit(exits.FAILED) from error
    except FileRefused as error:
        raise refuse(terminal, error) from error
    except DeliveryError as error:
        terminal.fail(f"{error.public} {error}.", error.code)
        raise typer.Exit(exits.FAILED) from error
    _tell(terminal.console, place, contents)


def _credentials(certificate: Path | None, key: Path | None, sources: Path | None, out: Path) -> Credentials | None:
    """Who signs, if anybody does.

    Raises:
        typer.BadParameter: half of it was said.
        FileRefused, NotInstalled: it cannot be done.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None or sources is None:
        raise typer.BadParameter("to sign, give --c2pa-cert, --c2pa-key and --sources")
    from photomend.delivery.credentials import Credentials

    return Credentials.read(certificate, key, sources=sources, out=out, program=PROGRAM, version=_version())


def _tell(console: Console, place: Path, contents: Contents) -> None:
    from rich.text import Text

    console.print(
        Text(f"{contents.files:,} files, {contents.bytes:,} bytes, verified: {place}", style="bold"), soft_wrap=True
    )
    if contents.signed:
        console.print(Text(f"  {contents.signed:,} pictures carry content credentials, read back"), soft_wrap=True)
    told = ", ".join(f"{count:,} {status}" for status, count in contents.statuses.items() if count)
    console.print(Text(f"  lines of the manifest: {told}"), soft_wrap=True)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "source"
