"""One job from claim to commit. Knows no Celery; every collaborator is handed in.

Delivery: a message may come twice, late or never. Only the claim starts work, and only a commit that shows the claim's
epoch makes results visible, so whatever dies in between leaves the record right and at most objects that nobody names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

import structlog

from jobs.errors import (
    IllegalMove,
    InputUnreachable,
    JobNotFound,
    ObjectChanged,
    ObjectError,
    StorageUnavailable,
    StoreUnavailable,
)
from jobs.kinds import Kind
from jobs.logs import about
from jobs.model import Artifact, Failure, Job, JobId, ObjectRef, Progress, Result, UrlRef
from jobs.object_names import plain_name, result_ref
from jobs.paces import DEVICE_S, UPSAMPLE_S
from jobs.sniffing import SNIFF_BYTES, sniff
from jobs.store import Beat, ClaimRefusal
from jobs.traces import UNTRACED, Traces, spanning
from pipeline import scratch
from pipeline.types import Stage
from worker.engine import Engine, Outcome, Product
from worker.failures import DEADLINE_EXCEEDED, INTERNAL, Fail, Release, classify
from worker.flight import Flight, Flights, Pulse
from worker.lane import Lane
from worker.lease import NOT_OURS, Lease, Stop, Stopped
from worker.meter import Meter
from worker.progress import FETCH, STORE
from worker.sheet import small_copies
from worker.spans import COMMIT, Attempt

logger = structlog.get_logger(__name__)

#: How long the last word about a job is repeated while Redis does not answer (seconds). Longer than a restart or a
#: failover; safe past the lease, since the epoch decides.
PERSIST_FOR_S = 60.0
#: First and longest wait between those tries (seconds).
PERSIST_WAITS_S = (0.1, 2.0)


class Ending(StrEnum):
    """How an attempt ended, for the log and for the process' own conduct."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    RELEASED = "released"  #: back in its backlog
    OUTAGE = "outage"  #: back in its backlog because Redis or the storage is in trouble
    REFUSED = "refused"  #: there was nothing to claim
    LOST = "lost"  #: another attempt owns it now
    SECLUDED = "secluded"  #: this process is to run a suspect; the job was handed back
    NOT_ALONE = "not_alone"  #: no suspect was given, since others are still held here


class Store(Protocol):
    """The job store, as far as running a job goes."""

    def claim(self, job_id: JobId, *, worker: str, lease_s: float) -> Job | ClaimRefusal: ...
    def claim_suspect(self, *, worker: str, lease_s: float) -> Job | ClaimRefusal: ...
    def beat(self, job_id: JobId, *, epoch: int, lease_s: float, progress: Progress | None) -> Beat: ...
    def commit(self, job_id: JobId, *, epoch: int, result: Result) -> Job: ...
    def fail(self, job_id: JobId, *, epoch: int | None, failure: Failure) -> Job: ...
    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: str | None = None) -> Job: ...
    def canceled(self, job_id: JobId, *, epoch: int) -> Job: ...


class Blobs(Protocol):
    """The object storage, as far as running a job goes."""

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def put(
        self, ref: ObjectRef, data: bytes | BinaryIO, *, content_type: str, filename: str | None = None
    ) -> object: ...
    def delete(self, refs: Sequence[ObjectRef]) -> None: ...


class FetchUrl(Protocol):
    """What gets a picture from a URL; raises ``ObjectError``."""

    def __call__(self, url: str, *, max_bytes: int) -> bytes: ...


def no_urls(url: str, *, max_bytes: int) -> bytes:
    """Where input URLs are switched off."""
    del url, max_bytes
    raise InputUnreachable(detail="Input URLs are switched off here.")


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a process has to work with; the same for all its jobs."""

    store: Store
    blobs: Blobs
    engine: Engine
    lane: Lane
    worker: str  #: this process' name, unique over restarts
    bucket: str  #: where results go
    lease_s: float
    max_bytes: int  #: of an input
    stage_budget_s: float
    fetch_url: FetchUrl = no_urls
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    flights: Flights = field(default_factory=Flights)
    meter: Meter = field(default_factory=Meter)
    traces: Traces = UNTRACED


def run_job(job_id: JobId, *, place: Workplace) -> Ending:
    """Claim the job and see it to its end; every error of the job or its surroundings ends in the record, not here.

    Raises:
        StoreUnavailable: Redis did not answer the claim; nothing was begun.
    """
    claimed_at = place.clock()
    job = place.store.claim(job_id, worker=place.worker, lease_s=place.lease_s)
    if isinstance(job, ClaimRefusal):
        return _refused(job)
    return _fly(job, claimed_at, place)


def run_suspect(*, place: Workplace) -> Ending:
    """The same for the next suspect, in a process where nothing else runs.

    Raises:
        StoreUnavailable: Redis did not answer the claim; nothing was begun.
    """
    claimed_at = place.clock()
    job = place.store.claim_suspect(worker=place.worker, lease_s=place.lease_s)
    if isinstance(job, ClaimRefusal):
        return _refused(job)
    with about(job.id):
        logger.info("job runs alone: a process died under it", deaths=[death.cause for death in job.deaths])
        return _fly(job, claimed_at, place)


def _refused(why: ClaimRefusal) -> Ending:
    if why is ClaimRefusal.FORGED:
        logger.error("job given up, nothing was fetched: its record is not signed with our secret")
    elif why is ClaimRefusal.UNREADABLE:
        logger.error("job left to others: it asks for what this version does not know; are all workers of one version?")
    else:
        logger.info("nothing to claim", reason=why.value)
    if why is ClaimRefusal.SECLUDED:
        return Ending.SECLUDED
    return Ending.NOT_ALONE if why is ClaimRefusal.NOT_ALONE else Ending.REFUSED


def _fly(job: Job, claimed_at: float, place: Workplace) -> Ending:
    attempt = Attempt(place.traces, job, worker=place.worker, claimed_s=place.clock() - claimed_at)
    with about(job.id, tenant=job.tenant, request_id=job.request_id), spanning(attempt.span):
        ending = _flown(job, claimed_at, place, attempt)
        attempt.ended(ending.value)
        return ending


def _flown(job: Job, claimed_at: float, place: Workplace, attempt: Attempt) -> Ending:
    logger.info("job started", attempt=job.attempt)
    place.meter.claimed(job)
    pulse = Pulse(place.lane, stage_budget_s=place.stage_budget_s, clock=place.clock)
    lease = Lease(
        place.store,
        job,
        lease_s=place.lease_s,
        claimed_at=claimed_at,
        is_alive=pulse.is_alive,
        clock=place.clock,
    )
    with lease, place.flights.aboard(Flight(lease, place.lane, pulse, attempt=attempt, clock=place.clock)) as flight:
        return _attempt(flight, place)


def _attempt(flight: Flight, place: Workplace) -> Ending:
    written: list[ObjectRef] = []
    try:
        result = _work(flight, place, written)
    except Stopped as stopped:
        _discard(place, written)
        return _stop(flight, place, stopped.reason)
    # A border: a bug of ours or of a library ends this job with a code and a log line, and never a lost job.
    # SystemExit: libraries that call sys.exit().
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _discard(place, written)
        return _settle(flight, place, error)
    return _commit(flight, place, result, written)


def _fetch(job: Job, place: Workplace) -> bytes:
    """The input's bytes.

    Raises:
        ObjectError: it is not there, not ours to read, too large, or not what its owner declared.
    """
    if isinstance(job.input, UrlRef):
        data = place.fetch_url(job.input.uri, max_bytes=place.max_bytes)
    else:
        data = place.blobs.get(job.input, max_bytes=place.max_bytes, if_match=job.input_etag)
    # The presigned PUT of an upload is signed for one length, but not every storage compares it.
    if job.input_bytes is not None and len(data) != job.input_bytes:
        raise ObjectChanged(f"{job.input.public_uri} has {len(data)} bytes, declared were {job.input_bytes}")
    if job.input_type is not None and sniff(data[:SNIFF_BYTES]) != job.input_type:
        raise ObjectChanged(f"{job.input.public_uri} is not of the declared type {job.input_type}")
    if job.input_sha256 is not None and hashlib.sha256(data).hexdigest() != job.input_sha256:
        raise ObjectChanged(f"{job.input.public_uri} has another SHA-256 than was declared")
    return data


def _work(flight: Flight, place: Workplace, written: list[ObjectRef]) -> Result:
    job, began = flight.job, place.clock()
    place.engine.require(job.kind, job.options)
    flight.on_progress(FETCH, 0.0)
    data = _fetch(job, place)
    fetched = place.clock()
    outcome = place.engine.run(job.kind, data, job.options, on_progress=flight.on_progress, compute=flight.compute)
    copies = small_copies(job, data, outcome.products, engine=place.engine, on_progress=flight.on_progress)
    products = (*outcome.products, *copies)
    del data
    restored = place.clock()
    artifacts = []
    for index, product in enumerate(products):
        flight.on_progress(STORE, index / len(products))
        artifacts.append(_put(job, product, place, written))
    spent = {"fetch_s": fetched - began, "store_s": place.clock() - restored}
    return _result(outcome, tuple(artifacts), _waited(job) | spent | _device_s(flight))


def _put(job: Job, product: Product, place: Workplace, written: list[ObjectRef]) -> Artifact:
    ref = result_ref(place.bucket, job, product.part, product.extension)
    name = filename(job, product)
    # Noted before the write: a PUT that failed half-way may have left an object all the same.
    written.append(ref)
    try:
        place.blobs.put(ref, scratch.streamed(product.data), content_type=product.content_type, filename=name)
    except StorageUnavailable:
        raise
    except ObjectError as error:
        # No fault of the job's: the installation's bucket is missing or closed to us.
        raise StorageUnavailable(f"results cannot be stored in {place.bucket}: {error}") from error
    return Artifact(
        part=product.part,
        ref=ref,
        content_type=product.content_type,
        size=len(product.data),
        sha256=hashlib.sha256(product.data).hexdigest(),
        filename=name,
    )


def filename(job: Job, product: Product) -> str:
    """What a browser should call a result: after its input, with the wished suffix."""
    stem = PurePosixPath(plain_name(job.input)).stem.strip(" .") or "picture"
    if product.part == "image":
        ending = job.options.suffix or ("-faces" if job.kind is Kind.DETECT else "-restored")
        return f"{stem}{ending}.{product.extension}"
    return f"{stem}{job.options.suffix}-{product.part.replace('/', '-')}.{product.extension}"


def _waited(job: Job) -> dict[str, float]:
    return {"queue_s": max(0.0, (job.started_at or job.created_at) - job.created_at)}


def _device_s(flight: Flight) -> dict[str, float]:
    """What the device worked for it: in all, and of that for enlarging, which grows with the picture."""
    spent = flight.device_s
    return {DEVICE_S: sum(spent.values()), UPSAMPLE_S: spent.get(Stage.UPSAMPLE, 0.0)}


def _result(outcome: Outcome, artifacts: tuple[Artifact, ...], spent: dict[str, float]) -> Result:
    stages = {f"{stage}_s": seconds for stage, seconds in outcome.seconds.items()}
    metrics = stages | spent | {"megapixels": outcome.megapixels}
    return Result(
        artifacts=artifacts,
        width=outcome.width,
        height=outcome.height,
        faces=outcome.faces,
        warnings=outcome.warnings,
        model=outcome.model,
        metrics={name: round(value, 4) for name, value in metrics.items()},
        input_sha256=outcome.input_sha256,
    )


def _commit(flight: Flight, place: Workplace, result: Result, written: list[ObjectRef]) -> Ending:
    job = flight.job
    # Not asked once more whether to stop: a finished result beats a cancel or a drain that came this late.
    if (reason := flight.lease.stopping) in NOT_OURS - {Stop.LOST}:
        _discard(place, written)
        return _stop(flight, place, reason)
    flight.attempt.at(COMMIT, 0.0)
    try:
        _persist(lambda: place.store.commit(job.id, epoch=job.epoch, result=result), place)
    except (IllegalMove, JobNotFound) as error:
        _discard(place, written)
        logger.warning("commit refused, results deleted", error=str(error))
        return Ending.LOST
    except StoreUnavailable as error:
        # It may have been committed all the same, so nothing is deleted: a picture that nobody points at is the
        # lesser evil than a pointer to nothing.
        logger.warning("commit not confirmed, results kept", error=str(error))
        return Ending.LOST
    # A border, as in ``_attempt``; but what failed may have been the reading of the answer.
    except Exception as error:  # noqa: BLE001
        ending = _settle(flight, place, error)
        # Only a record that took another end surely does not point at them.
        if ending in {Ending.FAILED, Ending.RELEASED}:
            _discard(place, written)
        return ending
    flight.attempt.made(result, sum(flight.device_s.values()))
    place.meter.succeeded(job, result, host_s=flight.host_s or 0.0, device_s=flight.device_s)
    logger.info("job succeeded", faces=len(result.faces), **result.metrics)
    return Ending.SUCCEEDED


def _stop(flight: Flight, place: Workplace, reason: Stop) -> Ending:
    job = flight.job
    logger.info("job stopped", reason=reason.value)
    flight.attempt.span.note({"photomend.stop": reason.value})
    if reason in NOT_OURS:
        place.meter.lost(reason)
    if reason is Stop.CANCEL:
        return _write(Ending.CANCELED, lambda: place.store.canceled(job.id, epoch=job.epoch), place)
    if reason is Stop.DEADLINE:
        flight.attempt.failed(DEADLINE_EXCEEDED.code)
        fail = lambda: place.store.fail(job.id, epoch=job.epoch, failure=DEADLINE_EXCEEDED)  # noqa: E731
        return _write(Ending.FAILED, fail, place)
    if reason is Stop.DRAIN:
        return _write(Ending.RELEASED, lambda: place.store.release(job.id, epoch=job.epoch, charge=False), place)
    return Ending.OUTAGE if reason is Stop.LOST else Ending.LOST


def _settle(flight: Flight, place: Workplace, error: BaseException) -> Ending:
    job = flight.job
    verdict = classify(error, job.attempt)
    if isinstance(verdict, Release):
        flight.attempt.failed(type(error).__name__)
        logger.warning("job goes back", charged=verdict.charge, error=f"{type(error).__name__}: {error}")
        ending = Ending.OUTAGE if verdict.pause else Ending.RELEASED
        return _write(ending, lambda: place.store.release(job.id, epoch=job.epoch, charge=verdict.charge), place)
    flight.attempt.failed(verdict.failure.code)
    return _fail(job, place, verdict, error)


def _fail(job: Job, place: Workplace, verdict: Fail, error: BaseException) -> Ending:
    if verdict.failure.code == INTERNAL:
        logger.error("job failed by a fault of ours", error=str(error), exc_info=error)
    else:
        logger.info("job failed", code=verdict.failure.code, error=str(error))
    return _write(Ending.FAILED, lambda: place.store.fail(job.id, epoch=job.epoch, failure=verdict.failure), place)


def _write(ending: Ending, move: Callable[[], Job], place: Workplace) -> Ending:
    """``ending``, once the record says so; LOST where another attempt owns the record."""
    try:
        _persist(move, place)
    except (IllegalMove, JobNotFound) as error:
        logger.warning("the record was no longer ours", wanted=ending.value, error=str(error))
        return Ending.LOST
    except StoreUnavailable as error:
        # The lease lapses and the job runs again: work is done twice, nothing is lost.
        logger.warning("the record could not be written", wanted=ending.value, error=str(error))
        return Ending.OUTAGE
    return ending


def _persist(move: Callable[[], Job], place: Workplace) -> None:
    until = place.clock() + PERSIST_FOR_S
    wait_s, longest_s = PERSIST_WAITS_S
    while True:
        try:
            move()
        except StoreUnavailable:
            if place.clock() + wait_s > until:
                raise
        else:
            return
        place.sleep(wait_s)
        wait_s = min(2 * wait_s, longest_s)


def _discard(place: Workplace, written: Sequence[ObjectRef]) -> None:
    """Delete what no record points at; a failure leaves an orphan for the bucket's own expiry, not a broken job."""
    if not written:
        return
    try:
        place.blobs.delete(written)
    except ObjectError as error:
        logger.warning("unreferenced results could not be deleted", count=len(written), error=str(error))
