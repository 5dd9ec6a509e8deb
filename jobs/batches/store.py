"""Batches in Redis: a record, and what is open of each; whatever grows with the manifest lies in storage.

A runner's writes show the epoch of its lease, so that one that was stopped, cut off or taken for dead changes nothing.
Every call may be made again after ``StoreUnavailable``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from jobs.admission import Admission
from jobs.batches.estimate import Estimate
from jobs.batches.model import (
    PART_ROWS,
    Batch,
    BatchId,
    BatchSpec,
    BatchState,
    Counts,
    ItemState,
    Pins,
    ReviewCounts,
    job_id,
)
from jobs.batches.reviews import Reviews
from jobs.codec import failure_to_json, job_from_record
from jobs.connection import PREFIX, Scripts, as_record, job_key, translated
from jobs.errors import (
    Fenced,
    IdempotencyMismatch,
    IllegalMove,
    InvalidRequest,
    JobNotFound,
    QuotaExceeded,
    SpecForged,
)
from jobs.model import Failure, Job, JobId, ObjectRef, TenantId
from jobs.outcomes import Idempotency
from jobs.price import Price
from jobs.settings import JobsSettings
from jobs.signing import Seal

logger = structlog.get_logger(__name__)

VERSION = 1
#: Batches of a tenant that have not ended.
MOST_OPEN = 50
#: Rows a second are remembered over so many seconds; as in ``_batch.lua``.
RATE_S = 60.0
REVIEW_COUNTS = ("flagged", "pending", "accepted", "rejected")
_MICROSECONDS = 1_000_000


class BatchNotFound(JobNotFound):
    """Raised when no such batch exists for this tenant."""

    code = "batch_not_found"
    public = "There is no such batch."


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage:
    """Some of a tenant's batches, newest first."""

    batches: tuple[Batch, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the report that is begun."""

    number: int
    rows: int  #: that it will have
    written: int  #: that it has


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a runner finds to do."""

    batch: Batch
    now: float  #: Redis' clock
    ended: tuple[int, ...]  #: items whose job has ended
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One item with its row."""

    item: int
    state: ItemState
    row: str  #: JSON
    gpu_s: float = 0.0
    megapixels: float = 0.0
    job: JobId | None = None  #: which may go
    is_flagged: bool = False  #: a person should look at its result

    @property
    def part(self) -> int:
        return self.item // PART_ROWS

    @property
    def words(self) -> tuple[str | int | float, ...]:
        """As ``batch_settle`` reads them."""
        own = (self.part, self.item, self.state, self.row, self.gpu_s, self.megapixels)
        return (*own, self.job or "", int(self.is_flagged))


class Batches:
    """The store's side of batches. Safe to share between threads."""

    def __init__(self, scripts: Scripts, settings: JobsSettings, seal: Seal, admission: Admission) -> None:
        self._scripts = scripts
        self._settings = settings
        self._seal = seal
        self._admission = admission
        self.reviews = Reviews(scripts)

    # -- owners

    def create(
        self,
        batch_id: BatchId,
        tenant: TenantId,
        spec: BatchSpec,
        *,
        idempotency: Idempotency | None = None,
        request_id: str | None = None,
    ) -> tuple[Batch, bool]:
        """Accept a batch; and whether an earlier call with the same key made it.

        Raises:
            IdempotencyMismatch: the key came before with another request.
            QuotaExceeded: the tenant has as many open batches as it may have.
            StoreUnavailable: Redis did not answer.
        """
        text, price = spec.to_json(), self._settings.price
        args = [
            batch_id,
            tenant,
            text,
            self._seal.code("batch", batch_id, tenant, text),
            hashlib.sha256(idempotency.key.encode()).hexdigest() if idempotency else "",
            idempotency.fingerprint if idempotency else "",
            self._settings.idempotency_ttl_s,
            MOST_OPEN,
            "" if spec.deadline_s is None else spec.deadline_s,
            request_id or "",
            VERSION,
            "" if price is None else price.hour,
            "" if price is None else price.currency,
        ]
        answer = self._scripts.call("batch_create", keys=[_key(batch_id)], args=args)
        if answer[0] == "mismatch":
            raise IdempotencyMismatch("key was used with another request")
        if answer[0] == "quota":
            raise QuotaExceeded(f"{tenant} has {MOST_OPEN} batches that have not ended, as many as it may have")
        return _batch(answer), answer[0] == "replayed"

    def get(self, batch_id: BatchId, *, tenant: TenantId | None = None) -> Batch:
        """The batch as it is now.

        Raises:
            BatchNotFound: there is none, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        record, flight = self._record(batch_id, tenant)
        return batch_from_record(batch_id, record, in_flight=flight)

    def get_genuine(self, batch_id: BatchId, *, tenant: TenantId | None = None) -> Batch:
        """The batch, sure to ask for just what was submitted: for whoever would act on that.

        Raises:
            SpecForged: its record is not signed by us.
            BatchNotFound, StoreUnavailable: see ``get``.
        """
        record, flight = self._record(batch_id, tenant)
        if not self.is_genuine(batch_id, record):
            raise SpecForged(batch_id)
        return batch_from_record(batch_id, record, in_flight=flight)

    def is_genuine(self, batch_id: BatchId, record: Mapping[str, str]) -> bool:
        """Whether a submit of ours made the record."""
        words = (batch_id, record.get("tenant", ""), record.get("spec", ""))
        return self._seal.is_genuine(record.get("code"), "batch", *words)

    def page(self, tenant: TenantId, *, cursor: str | None = None, limit: int = 50) -> BatchPage:
        """One page of a tenant's batches, newest first.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            StoreUnavailable: Redis did not answer.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 16):
            raise InvalidRequest("the cursor is not one that a page gave", pointer="/cursor")
        keys = [f"{PREFIX}batches:{tenant}"]
        last, *found = self._scripts.call("batch_list", keys=keys, args=[cursor or "", max(1, min(limit, 200))])
        return BatchPage(batches=tuple(_batch(answer) for answer in found), next_cursor=last or None)

    def pause(self, batch_id: BatchId, *, tenant: TenantId) -> Batch:
        """Begin nothing new; what is in flight goes on.

        Raises:
            IllegalMove: it does not run.
            BatchNotFound, StoreUnavailable: see ``get``.
        """
        return self._move(batch_id, BatchState.PAUSED, tenant=tenant)

    def resume(self, batch_id: BatchId, *, tenant: TenantId) -> Batch:
        """Go on.

        Raises:
            IllegalMove: it is not paused.
            BatchNotFound, StoreUnavailable: see ``get``.
        """
        if self.get(batch_id, tenant=tenant).state not in {BatchState.PAUSED, BatchState.RUNNING}:
            raise IllegalMove(f"{batch_id} is not paused")
        return self._move(batch_id, BatchState.RUNNING, tenant=tenant)

    def cancel(self, batch_id: BatchId, *, tenant: TenantId) -> Batch:
        """End it; every item left gets a row that says so. One that ends or has ended stays as it is.

        Raises:
            BatchNotFound, StoreUnavailable: see ``get``.
        """
        try:
            return self._move(
                batch_id, BatchState.CANCELING, tenant=tenant, fields={"ending": str(BatchState.CANCELED)}
            )
        except IllegalMove:
            return self.get(batch_id, tenant=tenant)

    def retry_failed(self, batch_id: BatchId, *, tenant: TenantId) -> Batch:
        """Try again what failed or was canceled.

        Raises:
            IllegalMove: it has not ended, or there is nothing to try again.
            BatchNotFound, StoreUnavailable: see ``get``.
        """
        self.get_genuine(batch_id, tenant=tenant)
        return _moved(self._scripts.call("batch_retry", keys=[_key(batch_id)], args=[batch_id, tenant]), batch_id)

    def window(self, batch: Batch, *, limit: int = 200) -> tuple[Job, ...]:
        """Jobs of items that are in flight, the first ones of the manifest first.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        items = self.flight(batch.id)[:limit]
        return tuple(job for job in self.jobs_of(batch, items) if job is not None)

    def open_rows(self, batch_id: BatchId) -> Iterator[str]:
        """Rows (JSON) of parts that are not in storage yet.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            parts: Any = self._scripts.client.hkeys(f"{_key(batch_id)}:open")
        for part in sorted(parts, key=int):
            rows = self.rows(batch_id, int(part))
            yield from (rows[item] for item in sorted(rows))

    # -- the runner

    def lease(self, runner: str, *, lease_s: float, limit: int) -> tuple[Batch, ...]:
        """Batches that nobody runs, now this runner's; those whose records are not signed by us are not among them.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        answers = self._scripts.call("batch_lease", keys=[f"{PREFIX}batches"], args=[runner, lease_s, limit])
        return tuple(_batch(answer) for answer in answers if self._is_ours(answer))

    def _is_ours(self, answer: Sequence[Any]) -> bool:
        is_ours = self.is_genuine(BatchId(answer[2]), as_record(answer[1]))
        if not is_ours:
            logger.warning("a batch is not signed by us: it is not run", batch=answer[2])
        return is_ours

    def beat(self, batch: Batch, *, lease_s: float, limit: int) -> Round:
        """Keep the lease; hear what there is to do. ``lease_s`` 0 gives it back.

        Raises:
            Fenced: another runner has the batch.
            BatchNotFound: it is gone.
            StoreUnavailable: Redis did not answer.
        """
        answer = self._scripts.call("batch_beat", keys=[_key(batch.id)], args=[batch.id, batch.epoch, lease_s, limit])
        _require(answer, batch.id)
        flat = [int(word) for word in answer[6]]
        parts = (Part(number=n, rows=r, written=w) for n, r, w in zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        return Round(
            batch=_as_leased(_batch(answer), batch),
            now=float(answer[4]),
            ended=tuple(sorted(int(item) for item in answer[5])),
            parts=tuple(sorted(parts, key=lambda part: part.number)),
        )

    def note(self, batch: Batch, *, to: BatchState | None = None, **fields: str | int | float) -> Batch:
        """Set fields, and move the batch where a state is named; an empty value removes a field.

        Raises:
            Fenced, BatchNotFound, StoreUnavailable: see ``beat``.
            IllegalMove: not from the state that it is in.
        """
        return _as_leased(self._move(batch.id, to, epoch=batch.epoch, fields=fields), batch)

    def end(self, batch: Batch, to: BatchState, failure: Failure | None = None) -> Batch:
        """Say that it ends so, before every item was tried."""
        words = {} if failure is None else {"failure": failure_to_json(failure)}
        return self.note(batch, to=BatchState.CANCELING, ending=str(to), **words)

    def open(self, batch: Batch, part: int, *, rows: int, kept: Mapping[int, str]) -> None:
        """Begin a part; ``rows`` 0: it stays as it is in storage.

        Raises:
            Fenced, BatchNotFound, StoreUnavailable: see ``beat``.
        """
        flat = [word for item, row in kept.items() for word in (item, row)]
        answer = self._scripts.call(
            "batch_open", keys=[_key(batch.id)], args=[batch.id, batch.epoch, part, rows, *flat]
        )
        _require(answer, batch.id)

    def submit(self, batch: Batch, jobs: Sequence[Job]) -> list[QuotaExceeded | bool]:
        """See ``Admission.submit_items``."""
        items = [(job, int(job.item or 0) // PART_ROWS) for job in jobs]
        return self._admission.submit_items(items, epoch=batch.epoch)

    def settle(self, batch: Batch, settled: Sequence[Settled]) -> int:
        """Write rows down, each item's once; how many are new.

        Raises:
            Fenced, BatchNotFound, StoreUnavailable: see ``beat``.
        """
        new = 0
        # A script's arguments have a bound.
        for start in range(0, len(settled), PART_ROWS):
            flat = [word for one in settled[start : start + PART_ROWS] for word in one.words]
            answer = self._scripts.call("batch_settle", keys=[_key(batch.id)], args=[batch.id, batch.epoch, *flat])
            _require(answer, batch.id)
            new += int(answer)
        return new

    def purge(self, jobs: Sequence[JobId]) -> None:
        """Say that the objects of settled jobs are gone.

        Raises:
            StoreUnavailable: Redis did not answer. The sweeper removes the records.
        """
        if jobs:
            self._scripts.call("batch_purge", keys=[f"{PREFIX}trash"], args=list(jobs))

    def written(self, batch: Batch, part: int, *, again: Sequence[int]) -> None:
        """Say that a part lies in storage; ``again``: its items that a retry would try.

        Raises:
            Fenced, BatchNotFound, StoreUnavailable: see ``beat``.
        """
        args = [batch.id, batch.epoch, part, batch.generation, PART_ROWS, *again]
        _require(self._scripts.call("batch_part", keys=[_key(batch.id)], args=args), batch.id)

    def rows(self, batch_id: BatchId, part: int) -> dict[int, str]:
        """Rows (JSON) of an open part by item.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            found: Any = self._scripts.client.hgetall(f"{_key(batch_id)}:rows:{part}")
        return {int(item): row for item, row in found.items()}

    def settled_items(self, batch_id: BatchId, part: int) -> set[int]:
        """Items of an open part that have their row.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            found: Any = self._scripts.client.hkeys(f"{_key(batch_id)}:rows:{part}")
        return {int(item) for item in found}

    def flight(self, batch_id: BatchId) -> list[int]:
        """Items that have a job, sorted.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            found: Any = self._scripts.client.smembers(f"{_key(batch_id)}:flight")
        return sorted(int(item) for item in found)

    def retried(self, batch_id: BatchId, part: int, rows: int) -> list[int]:
        """Items of a part whose last row failed or was canceled.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        first = part * PART_ROWS
        with translated():
            pipeline: Any = self._scripts.client.pipeline(transaction=False)
            for item in range(first, first + rows):
                pipeline.getbit(f"{_key(batch_id)}:retry", item)
            bits: list[int] = pipeline.execute()
        return [first + index for index, bit in enumerate(bits) if bit]

    def generations(self, batch_id: BatchId) -> list[int]:
        """For each part: of which generation its rows in storage are; 0 = none yet.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        client: Any = self._scripts.client
        # Not as text: bytes over 127 are no UTF-8.
        with translated():
            bits: Any = client.execute_command("GET", f"{_key(batch_id)}:parts", NEVER_DECODE=True)
        return list(bits or b"")

    def jobs_of(self, batch: Batch, items: Sequence[int]) -> list[Job | None]:
        """Each item's job, as far as it is there and is ours.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        ids = [job_id(batch.id, batch.generation, item) for item in items]
        with translated():
            pipeline: Any = self._scripts.client.pipeline(transaction=False)
            for one in ids:
                pipeline.hgetall(job_key(one))
            records: list[dict[str, str]] = pipeline.execute()
        return [self._own(one, record, batch) for one, record in zip(ids, records, strict=True)]

    def strays(self, batch: Batch, items: Sequence[int]) -> list[int]:
        """Of items in flight, those without a job: they are in flight no more. Jobs that ended unseen are seen.

        Raises:
            Fenced, BatchNotFound, StoreUnavailable: see ``beat``.
        """
        if not items:
            return []
        flat = [word for item in items for word in (item, job_id(batch.id, batch.generation, item))]
        answer = self._scripts.call("batch_stray", keys=[_key(batch.id)], args=[batch.id, batch.epoch, *flat])
        _require(answer, batch.id)
        return [int(item) for item in answer]

    def old(self, *, limit: int) -> tuple[Batch, ...]:
        """Batches that ended long ago; ``retire`` drops them.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            client: Any = self._scripts.client
            now = float(client.time()[0])
            ids: Any = client.zrangebyscore(f"{PREFIX}batches:old", "-inf", now, start=0, num=limit)
        found = []
        for one in ids:
            try:
                found.append(self.get(BatchId(one)))
            except BatchNotFound:
                continue
        return tuple(found)

    def retire(self, *, limit: int = 20) -> int:
        """Drop records of batches that ended long ago; how many.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return int(self._scripts.call("batch_retire", keys=[f"{PREFIX}batches:old"], args=[limit]))

    # -- ours

    def _record(self, batch_id: BatchId, tenant: TenantId | None) -> tuple[dict[str, str], int]:
        """The record, and how many items are in flight."""
        with translated():
            pipeline: Any = self._scripts.client.pipeline(transaction=False)
            record, flight = pipeline.hgetall(_key(batch_id)).scard(f"{_key(batch_id)}:flight").execute()
        if not record or (tenant is not None and record["tenant"] != tenant):
            raise BatchNotFound(batch_id)
        return record, int(flight)

    def _own(self, one: JobId, record: Mapping[str, str], batch: Batch) -> Job | None:
        if not record or record["tenant"] != batch.tenant:
            return None
        words = (one, record["tenant"], record["lane"], record["spec"])
        return job_from_record(one, record) if self._seal.is_genuine(record.get("code"), "job", *words) else None

    def _move(
        self,
        batch_id: BatchId,
        to: BatchState | None,
        *,
        tenant: TenantId | None = None,
        epoch: int | None = None,
        fields: Mapping[str, str | int | float] | None = None,
    ) -> Batch:
        flat = [word for pair in (fields or {}).items() for word in pair]
        args = [batch_id, tenant or "", "" if epoch is None else epoch, to or "", self._settings.record_ttl_s, *flat]
        return _moved(self._scripts.call("batch_move", keys=[_key(batch_id)], args=args), batch_id)


def _key(batch_id: BatchId) -> str:
    return f"{PREFIX}batch:{batch_id}"


def _require(answer: Any, batch_id: BatchId) -> None:
    """Raise what a script refused for, if it did."""
    status = answer[0] if isinstance(answer, list) and answer else "ok"
    if status == "gone":
        raise BatchNotFound(batch_id)
    if status == "fenced":
        raise Fenced(f"{batch_id} is run by another keeper")


def _moved(answer: Any, batch_id: BatchId) -> Batch:
    _require(answer, batch_id)
    if answer[0] == "illegal":
        raise IllegalMove(f"{batch_id}: it is {answer[1]}")
    return _batch(answer)


def _as_leased(batch: Batch, leased: Batch) -> Batch:
    """``batch`` as it is now, asking for what it asked for when its seal was looked at: that never changes."""
    return dataclasses.replace(batch, tenant=leased.tenant, spec=leased.spec)


def _batch(answer: Sequence[Any]) -> Batch:
    return batch_from_record(BatchId(answer[2]), as_record(answer[1]), in_flight=int(answer[3]))


def batch_from_record(batch_id: BatchId, record: Mapping[str, str], *, in_flight: int) -> Batch:
    """The batch that a record holds."""

    def seconds(name: str) -> float | None:
        return float(record[name]) if name in record else None

    started_at, ended_at = seconds("started_at"), seconds("completed_at")
    return Batch(
        id=batch_id,
        tenant=TenantId(record["tenant"]),
        spec=BatchSpec.from_json(json.loads(record["spec"])),
        state=BatchState(record["state"]),
        created_at=int(record["seq"]) / _MICROSECONDS,
        started_at=started_at,
        completed_at=ended_at,
        revision=int(record["rev"]),
        epoch=int(record["epoch"]),
        generation=int(record["generation"]),
        total=int(record.get("total", 0)),
        is_prepared=record.get("prepared") == "1",
        pieces=int(record.get("pieces", 0)),
        cursor=record.get("cursor", ""),
        next_part=int(record.get("next_part", 0)),
        in_flight=in_flight,
        counts=Counts(**{str(state): int(record.get(f"n_{state}", 0)) for state in ItemState}),
        review=ReviewCounts(**{name: int(record.get(name, 0)) for name in REVIEW_COUNTS}),
        gpu_s=float(record.get("gpu_s", 0.0)),
        megapixels=float(record.get("megapixels", 0.0)),
        rate=_rate(record, started_at),
        pins=_pins(record.get("pins")),
        price=Price(hour=float(record["price"]), currency=record["currency"]) if "price" in record else None,
        estimate=Estimate.from_json(json.loads(record["estimate"])) if "estimate" in record else None,
        ending=BatchState(record["ending"]) if "ending" in record else None,
        failure=Failure(**json.loads(record["failure"])) if "failure" in record else None,
        note=record.get("note", ""),
        deadline=seconds("deadline"),
        request_id=record.get("request"),
    )


def _rate(record: Mapping[str, str], started_at: float | None) -> float:
    """Rows a second, of late."""
    if started_at is None or "rate_at" not in record or "completed_at" in record:
        return 0.0
    at, now = float(record["rate_at"]), time.time()
    # The mean of a memory that is not full yet.
    share = 1 - math.exp(-max(1.0, now - started_at) / RATE_S)
    return float(record["rate"]) * math.exp(-max(0.0, now - at) / RATE_S) / share


def _pins(text: str | None) -> Pins | None:
    if not text:
        return None
    words = json.loads(text)
    return Pins(**(words | {"engines": tuple(words["engines"]), "always": tuple(words["always"])}))


def report_ref(batch: Batch, name: str) -> ObjectRef:
    """Where a file of the report lies: beside what was delivered, under a name that no other batch uses."""
    return ObjectRef(
        bucket=batch.spec.output.bucket,
        key=f"{batch.spec.output.key}_photomend/{batch.id}-{batch.generation}/{name}",
    )


def piece_ref(bucket: str, batch: Batch, piece: int) -> ObjectRef:
    """A piece of the pinned manifest."""
    return ObjectRef(bucket=bucket, key=f"batches/{batch.tenant}/{batch.id}/manifest/{piece:06d}.jsonl")


def redo_ref(bucket: str, tenant: TenantId, batch_id: BatchId) -> ObjectRef:
    """The manifest of a batch that makes another one's results otherwise."""
    return ObjectRef(bucket=bucket, key=f"batches/{tenant}/{batch_id}/redo.jsonl")


def part_ref(bucket: str, batch: Batch, part: int, generation: int) -> ObjectRef:
    """A part of the report before it is put together."""
    return ObjectRef(bucket=bucket, key=f"batches/{batch.tenant}/{batch.id}/rows/{part:06d}.{generation}.jsonl")
