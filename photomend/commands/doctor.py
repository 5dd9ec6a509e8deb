"""``photomend doctor``: is everything set right, does it fit together, and does somebody look after it?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from jobs.checks import Check
    from jobs.settings import JobsSettings
    from jobs.store import JobStore


def doctor(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found, and delete orphaned objects.")] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Also look through the bucket for objects that no job shows.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out weights and devices, which take up to minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Look through settings, Redis, storage, jobs, weights and devices; say what does not fit, and what to do.

    The storage is tried with small objects under doctor/, which are deleted again; weights are compared with their
    hashes, and every GPU (or the CPU) restores a canary picture. Safe at any time, also while everything runs.
    Exit code 0: nothing is wrong, or all of it was mended; 1: something is wrong. Warnings are no fault.

    Examples:
      photomend doctor --objects --repair

      photomend doctor --quick --json
    """
    from jobs.settings import JobsSettings
    from jobs.store import JobStore
    from photomend.checklist import show

    settings = JobsSettings()
    store = JobStore.connect(settings)
    try:
        is_well = show(_checks(store, settings, repair=repair, objects=objects, quick=quick), as_json=as_json)
    finally:
        store.close()
    if not is_well:
        raise typer.Exit(exits.FAILED)


def _checks(store: JobStore, settings: JobsSettings, *, repair: bool, objects: bool, quick: bool) -> Iterator[Check]:
    from jobs import checks
    from jobs.errors import JobsError
    from jobs.s3_probe import probe

    yield from checks.of_settings(settings, signs_callbacks=True)
    yield from checks.of_store(store, settings)
    yield from probe(settings)
    try:
        yield from _of_jobs(store, repair=repair)
        if objects:
            yield from _of_objects(store, settings, repair=repair)
            yield from _of_pages(settings)
    # Whichever of the two has just been told of as out of reach.
    except JobsError as err:
        yield checks.skipped("jobs", f"not looked through: {err.public}")
    if not quick:
        yield from _of_devices()


def _of_jobs(store: JobStore, *, repair: bool) -> Iterator[Check]:
    from jobs import checks

    yield checks.of_fleet(store)
    doctor = store.doctor()
    count = 0
    for found in doctor.examine(repair=repair):
        count += 1
        yield _mended("jobs.records", f"{found.subject}: {found.problem}", repair=repair)
    late = doctor.overdue()
    for found in late:
        yield checks.failed("jobs.duties", f"{found.subject}: {found.problem}", "is a keeper running?")
    if not count:
        yield checks.ok("jobs.records", "0 violations")
    if not late:
        yield checks.ok("jobs.duties", "0 overdue")


def _of_objects(store: JobStore, settings: JobsSettings, *, repair: bool) -> Iterator[Check]:
    from jobs import checks
    from jobs.blobs import BlobStore
    from jobs.orphans import orphans

    blobs = BlobStore.connect(settings)
    count = 0
    for ref in orphans(store, blobs, bucket=settings.bucket):
        count += 1
        if repair:
            blobs.delete([ref])
        yield _mended("storage.orphans", f"{ref.uri}: no job shows it", repair=repair)
    if not count:
        yield checks.ok("storage.orphans", "0 orphaned objects")


def _mended(name: str, said: str, *, repair: bool) -> Check:
    from jobs import checks

    return checks.ok(name, f"{said}; mended") if repair else checks.failed(name, said, "`photomend doctor --repair`")


def _of_pages(settings: JobsSettings) -> Iterator[Check]:
    """Where the page at / can't upload straight to the storage; it works all the same, so that is no fault."""
    import httpx

    from api.settings import ApiSettings
    from jobs import checks
    from jobs.blobs import BlobStore
    from jobs.model import ObjectRef

    ref = ObjectRef(bucket=settings.bucket, key="photomend-doctor")
    url = BlobStore.connect(settings).presign_put(ref, content_type="image/jpeg", size=1)
    for origin in ApiSettings().page_origins:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        }
        try:
            answer = httpx.options(url, headers=asked, timeout=10)
        except httpx.HTTPError:
            return  # told of with the presigned URLs
        if answer.is_error or answer.headers.get("access-control-allow-origin") not in {"*", origin}:
            yield checks.warning(
                "page",
                f"bucket {settings.bucket} does not let pages of {origin} upload to it, so photos go through the API",
                "to change that, allow this origin, PUT and content-type in the bucket's CORS rules",
            )


def _of_devices() -> Iterator[Check]:
    """Weights and devices of this machine, as worker processes would have them."""
    from jobs import checks
    from worker import devices
    from worker.memory import available_mb
    from worker.processes import available_cores, plan_processes
    from worker.selftest import self_test
    from worker.settings import visible_gpus

    if importlib.util.find_spec("torch") is None:
        advice = "where workers run: photomend worker --self-test"
        yield checks.skipped("devices", "torch is not installed here, so no worker runs here", advice)
        return
    gpus = devices.visible(visible_gpus(), devices.installed())
    yield from self_test(
        plan_processes(gpus=gpus, cpu=1, threads=None, cores=available_cores(), memory_mb=available_mb())
    )
