"""A delivery of the service for ``photomend deliver bag``: found by id or address, and fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from photomend import exits
from photomend.commands.submit import connected

if TYPE_CHECKING:
    from jobs.model import ObjectRef
    from photomend.terminal import Terminal

_BATCH, _S3 = "batch_", "s3://"


def is_of_service(named: str) -> bool:
    """Whether that is no folder here."""
    return named.startswith((_BATCH, _S3))


@contextmanager
def delivery_here(
    named: str, place: Path, *, terminal: Terminal, with_sources: bool, service: tuple[str | None, str | None]
) -> Iterator[tuple[Path, Path]]:
    """The delivery's folder, and its sources', beside the place of its bag; both are gone when all went well.

    After an error they stay, so that the same command goes on.

    Args:
        named: a batch's id, or ``s3://…`` of its report's folder.
        place: of the bag.
        terminal: for progress.
        with_sources: fetch these as well.
        service: its address and key.

    Raises:
        DeliveryError, ObjectError, InvalidRequest: see ``Fetch``.
        typer.Exit: the service does not know the batch, or it has not ended.
    """
    from jobs.delivery.errors import NotInstalled
    from photomend.delivery.fetch import Fetch, place_of

    try:
        from jobs.blobs import BlobStore
        from jobs.settings import JobsSettings
    except ImportError as error:
        raise NotInstalled("the storage is spoken to by boto3: pip install 'photomend[api]'") from error
    where = _of_batch(named, terminal, service) if named.startswith(_BATCH) else place_of(named)
    folder = place.resolve().parent / f".{place.name}.fetched"
    out, sources = folder / "results", folder / "sources"
    fetch = Fetch(
        blobs=BlobStore.connect(JobsSettings()), place=where, out=out, sources=sources if with_sources else None
    )
    with terminal.counting("fetching and verifying") as (on_total, on_file):
        fetched = fetch(on_total=on_total, on_file=on_file)
    terminal.console.print(f"{fetched.files:,} files of {fetched.rows:,} lines are here, verified", highlight=False)
    yield out, sources
    shutil.rmtree(folder)


def _of_batch(batch_id: str, terminal: Terminal, service: tuple[str | None, str | None]) -> ObjectRef:
    from photomend.delivery.fetch import place_of

    with connected(*service) as client:
        batch = client.get_batch(batch_id)
    if not batch.is_done or batch.raw["urls"]["report"] is None:
        terminal.fail(f"{batch_id} is {batch.status}: its report is made when it has ended.", "result_not_ready")
        raise typer.Exit(exits.FAILED)
    return place_of(f"{batch.raw['output']}_photomend/{batch_id}-{batch.raw['generation']}/")
