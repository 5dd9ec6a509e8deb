"""``photomend doctor``: does everything in the store fit together, and does somebody look after it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.settings import JobsSettings
    from jobs.store import JobStore


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found, and delete orphaned objects.")] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Also look through the bucket for objects that no job shows.")
    ] = False,
) -> None:
    """Look through jobs, indices, Redis' settings and, on request, the bucket; name whatever does not fit.

    Safe at any time, also while everything runs. Exit code 0: nothing was wrong, or all of it was mended; 1: something
    is wrong.

    Example: photomend doctor --objects --repair
    """
    from rich.console import Console
    from rich.text import Text

    from jobs.errors import JobsError

    console = Console()
    try:
        wrong = _examine(console, repair=repair, objects=objects)
    except JobsError as err:
        sentence = f"{err.public} ({err}) Check PHOTOMEND_REDIS_URL and the PHOTOMEND_S3_* settings."
        Console(stderr=True).print(Text(sentence, style="bold red"), soft_wrap=True)
        raise typer.Exit(exits.FAILED) from err
    if wrong:
        raise typer.Exit(exits.FAILED)


def _examine(console: Console, *, repair: bool, objects: bool) -> bool:
    """Prints each finding; True if something is left that is wrong."""
    from jobs.settings import JobsSettings
    from jobs.store import JobStore

    settings = JobsSettings()
    store = JobStore.connect(settings)
    try:
        doctor = store.doctor()
        count = 0
        with console.status("Looking through the jobs"):
            for found in doctor.examine(repair=repair):
                count += 1
                console.print(f"{found.subject}: {found.problem}{'; mended' if repair else ''}", highlight=False)
            late = doctor.overdue()
            for found in late:
                console.print(f"{found.subject}: {found.problem}; is a keeper running?", highlight=False)
            faults = [f"Redis: {fault}" for fault in doctor.faults_of_redis(min_replicas=settings.redis_min_replicas)]
            faults += _missing_secret(settings)
            for fault in faults:
                console.print(fault, highlight=False, soft_wrap=True)
        lost = _examine_objects(console, store, settings, repair=repair) if objects else 0
        if objects:
            _advise_on_pages(settings)
    finally:
        store.close()
    console.print(f"{count} violations, {len(late)} overdue" + (f", {lost} orphaned objects" if objects else ""))
    return bool(late or faults) or (not repair and bool(count or lost))


def _missing_secret(settings: JobsSettings) -> list[str]:
    from jobs.errors import NotSetUp
    from jobs.signing import require_secret

    try:
        require_secret(settings)
    except NotSetUp as err:
        return [str(err)]
    return []


def _advise_on_pages(settings: JobsSettings) -> None:
    """Says where the page at / can't upload straight to the storage; it works all the same, so that is no fault."""
    import httpx
    from rich.console import Console

    from api.settings import ApiSettings
    from jobs.blobs import BlobStore
    from jobs.model import ObjectRef

    ref = ObjectRef(bucket=settings.bucket, key="photomend-doctor")
    console = Console(stderr=True)
    url = BlobStore.connect(settings).presign_put(ref, content_type="image/jpeg", size=1)
    for origin in ApiSettings().page_origins:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        }
        try:
            answer = httpx.options(url, headers=asked, timeout=10)
        except httpx.HTTPError as err:
            console.print(
                f"Page: the storage's public address does not answer ({type(err).__name__}); check "
                "PHOTOMEND_S3_PUBLIC_ENDPOINT_URL",
                highlight=False,
                soft_wrap=True,
            )
            return
        if answer.is_error or answer.headers.get("access-control-allow-origin") not in {"*", origin}:
            console.print(
                f"Page: bucket {settings.bucket} does not let pages of {origin} upload to it, so photos go through the "
                "API; to change that, allow this origin, PUT and content-type in the bucket's CORS rules",
                highlight=False, soft_wrap=True,
            )  # fmt: skip


def _examine_objects(console: Console, store: JobStore, settings: JobsSettings, *, repair: bool) -> int:
    from jobs.blobs import BlobStore
    from jobs.orphans import orphans

    blobs = BlobStore.connect(settings)
    count = 0
    with console.status("Looking through the bucket"):
        for ref in orphans(store, blobs, bucket=settings.bucket):
            count += 1
            if repair:
                blobs.delete([ref])
            console.print(f"{ref.uri}: no job shows it{'; deleted' if repair else ''}", highlight=False)
    return count
