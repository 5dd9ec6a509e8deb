"""``photomend deliver bag``: what is handed over of a finished delivery, made here or by a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits
from photomend.commands.local import refuse
from photomend.commands.submit import Key, Url

if TYPE_CHECKING:
    from rich.console import Console

    from photomend.delivery.bag import Contents
    from photomend.delivery.credentials import Credentials
    from photomend.terminal import Terminal

#: As reports and records name the program.
PROGRAM = "photomend"


def bag(
    named: Annotated[
        str,
        typer.Argument(
            metavar="OUT|BATCH|s3://…",
            help="The results' folder of `photomend restore --report`; or of the service, a batch's id or its report",
        ),
    ],
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
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Make a BagIt bag of a finished folder or batch: results, records, report, PREMIS; verified by reading it back.

    What goes in is held against the checksums of the report, and everything is read once
    more when the bag is made. Lines that failed are in the report in the bag. A batch of the
    service is fetched first, with the storage's credentials in PHOTOMEND_S3_…, and nothing is
    written there; a stopped command goes on where it was.

    Examples:
      photomend deliver bag mended/ bag-2026-117/

      photomend deliver bag mended/ /mnt/transfer/bag/ --organization "City Archive" --identifier 2026-117

      photomend deliver bag mended/ bag/ --c2pa-cert chain.pem --c2pa-key key.pem --sources scans/

      photomend deliver bag batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d bag-2026-117/

      photomend deliver bag s3://mended/1923/_photomend/batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d-1/ bag-2026-117/
    """
    from photomend.delivery.bag import Packing
    from photomend.terminal import Terminal

    terminal, signs = Terminal(), certificate is not None or key is not None
    said = {
        "Source-Organization": organization,
        "Contact-Name": contact,
        "External-Identifier": identifier,
        "External-Description": description,
    }
    with _told_plainly(terminal, named):
        with _delivery(named, place, terminal, signs=signs, sources=sources, service=(url, api_key)) as (out, of):
            packing = Packing(
                out=out,
                place=place,
                info={name: " ".join(value.split()) for name, value in said.items() if value},
                program=PROGRAM,
                version=version(),
                copies=copies,
                incomplete=incomplete,
                sign=_credentials(certificate, key, of, out),
            )
            with terminal.busy("packing and verifying"):
                contents = packing()
        _tell(terminal.console, place, contents)


@contextmanager
def _delivery(
    named: str,
    place: Path,
    terminal: Terminal,
    *,
    signs: bool,
    sources: Path | None,
    service: tuple[str | None, str | None],
) -> Iterator[tuple[Path, Path | None]]:
    """The results' folder, and the sources'."""
    from photomend.commands.fetched import delivery_here, is_of_service

    if not is_of_service(named):
        yield Path(named), sources
        return
    wants = signs and sources is None
    with delivery_here(named, place, terminal=terminal, with_sources=wants, service=service) as (out, fetched):
        yield out, fetched if wants else sources


@contextmanager
def _told_plainly(terminal: Terminal, named: str) -> Iterator[None]:
    """What goes wrong as one sentence."""
    from jobs.delivery.errors import DeliveryError
    from jobs.errors import InvalidRequest, ObjectError
    from photomend.delivery import report
    from photomend.files import FileRefused

    try:
        yield
    except FileNotFoundError as error:
        if error.filename != str(Path(named) / report.FOLDER / report.JSON_LINES):
            raise
        advice = f"make it by `photomend restore … -o {named} --report`"
        terminal.fail(f"There is no report in {named}; {advice}.", "no_report")
        raise typer.Exit(exits.FAILED) from error
    except FileRefused as error:
        raise refuse(terminal, error) from error
    except (DeliveryError, ObjectError) as error:
        terminal.fail(f"{error.public} {error}.", error.code)
        raise typer.Exit(exits.FAILED) from error
    except InvalidRequest as error:
        terminal.fail(f"{named} is no address of a report: {error.detail}.", error.code)
        raise typer.Exit(exits.FAILED) from error


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

    return Credentials.read(certificate, key, sources=sources, out=out, program=PROGRAM, version=version())


def _tell(console: Console, place: Path, contents: Contents) -> None:
    from rich.text import Text

    console.print(
        Text(f"{contents.files:,} files, {contents.bytes:,} bytes, verified: {place}", style="bold"), soft_wrap=True
    )
    if contents.signed:
        console.print(Text(f"  {contents.signed:,} pictures carry content credentials, read back"), soft_wrap=True)
    told = ", ".join(f"{count:,} {status}" for status, count in contents.statuses.items() if count)
    console.print(Text(f"  lines of the manifest: {told}"), soft_wrap=True)


def version() -> str:
    """Of the program, as reports and records name it."""
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "source"
