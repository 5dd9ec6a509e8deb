"""Callbacks that have to be told, at least once each: the callback sender's side of the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from jobs import callbacks
from jobs.batches.model import BatchEvent, BatchId
from jobs.batches.store import batch_from_record
from jobs.batches.view import batch_view
from jobs.codec import UnreadableRecord, job_from_record
from jobs.connection import PREFIX, Scripts, as_record, translated
from jobs.model import CallbackEvent, JobId, TenantId
from jobs.trace_context import TraceContext
from jobs.view import timestamp

logger = structlog.get_logger(__name__)

#: Room for what went wrong; the record is for operators, not an archive of answers.
MAX_ERROR = 300
#: How long an endpoint that answered 410 Gone is left alone, unless a replay says that it is back: as records live.
GONE_S = 30 * 86400.0
#: Why a delivery that nobody asked for is not sent.
FORGED = "not sent: the record that names the receiver is not signed by this service"
#: Deliveries looked at in one round trip.
_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One callback to send now."""

    id: str  #: ``msg_…``, the same over all attempts: the receiver's key against doubles
    job_id: JobId | BatchId
    tenant: TenantId
    event: CallbackEvent | BatchEvent
    url: str
    body: str  #: JSON, the same over all attempts
    attempt: int  #: 1 for the first
    happened_at: float  #: what it tells of
    request_id: str | None = None  #: of the call that made the job
    trace: TraceContext | None = None  #: of that call


class DeliveryState(StrEnum):
    """What became of a callback."""

    WAITING = "waiting"  #: for its first attempt, or its next
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"  #: given up


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRecord:
    """One event of one job, and how the telling of it went."""

    id: str  #: ``msg_…``, as the receiver sees it in ``webhook-id``
    job_id: JobId | BatchId
    tenant: TenantId
    event: CallbackEvent | BatchEvent
    url: str
    state: DeliveryState
    attempts: int  #: over all replays
    happened_at: float
    next_attempt_at: float | None  #: WAITING only
    delivered_at: float | None
    error: str | None  #: of the last attempt that failed


class Outbox:
    """One entry per job and event, written in the same call as the move that it tells of."""

    def __init__(
        self,
        scripts: Scripts,
        *,
        is_genuine: Callable[[JobId, Mapping[str, str]], bool],
        is_genuine_batch: Callable[[BatchId, Mapping[str, str]], bool],
    ) -> None:
        """``is_genuine(job_id, record)``: whether a submit of ours made the record; the same for batches."""
        self._scripts = scripts
        self._is_genuine = is_genuine
        self._is_genuine_batch = is_genuine_batch

    def due(self, *, limit: int, lease_s: float) -> tuple[Delivery, ...]:
        entries = self._scripts.call("deliveries", keys=[f"{PREFIX}outbox"], args=[limit, lease_s])
        found = (self._offered(*entry) for entry in entries)
        return tuple(delivery for delivery in found if delivery is not None)

    def _offered(self, delivery_id: str, attempt: int, at: str, flat: Sequence[str]) -> Delivery | None:
        """What is to be sent; None for what is not, now or ever: whoever can write to Redis sends us nowhere."""
        subject, event = _told(delivery_id)
        record = as_record(flat)
        if isinstance(event, BatchEvent):
            return self._offered_batch(delivery_id, event, BatchId(subject), attempt=attempt, at=at, record=record)
        job_id = JobId(subject)
        try:
            job = job_from_record(job_id, record) if self._is_genuine(job_id, record) else None
        except UnreadableRecord as err:
            # Of a newer form, perhaps: its lease ends, and it is offered to others.
            logger.warning("callback not sent now", delivery=delivery_id, error=str(err))
            return None
        if job is None or job.callback is None or event not in job.callback.events:
            logger.error("callback given up", delivery=delivery_id, error=FORGED)
            self._settle(delivery_id, "gave_up", error=FORGED)
            return None
        return Delivery(
            id=delivery_id,
            job_id=job.id,
            tenant=job.tenant,
            event=event,
            url=job.callback.url,
            body=callbacks.body(job, event, at=float(at)),
            attempt=int(attempt),
            happened_at=float(at),
            request_id=job.request_id,
            trace=job.trace,
        )

    def _offered_batch(
        self,
        delivery_id: str,
        event: BatchEvent,
        batch_id: BatchId,
        *,
        attempt: int,
        at: str,
        record: Mapping[str, str],
    ) -> Delivery | None:
        """The same for a batch's event."""
        batch = None
        if self._is_genuine_batch(batch_id, record):
            batch = batch_from_record(batch_id, record, in_flight=0)
        if batch is None or batch.spec.callback_url is None or event not in batch.spec.callback_events:
            logger.error("callback given up", delivery=delivery_id, error=FORGED)
            self._settle(delivery_id, "gave_up", error=FORGED)
            return None
        words = {"type": str(event), "timestamp": timestamp(float(at)), "data": batch_view(batch)}
        return Delivery(
            id=delivery_id,
            job_id=batch.id,
            tenant=batch.tenant,
            event=event,
            url=batch.spec.callback_url,
            body=json.dumps(words, ensure_ascii=False, separators=(",", ":")),
            attempt=int(attempt),
            happened_at=float(at),
            request_id=batch.request_id,
            trace=batch.spec.trace,
        )

    def delivered(self, delivery_id: str) -> bool:
        return self._settle(delivery_id, "delivered")

    def failed(self, delivery_id: str, *, retry_in_s: float | None, error: str) -> bool:
        if retry_in_s is None:
            return self._settle(delivery_id, "gave_up", error=error)
        return self._settle(delivery_id, "retry", in_s=retry_in_s, error=error)

    def held(self, delivery_id: str, *, for_s: float) -> bool:
        """It was not tried: not counted, and offered again later."""
        return self._settle(delivery_id, "held", in_s=for_s)

    def gone(self, delivery_id: str, *, error: str) -> bool:
        """Given up, and with it everything else for its endpoint."""
        return self._settle(delivery_id, "gone", in_s=GONE_S, error=error)

    def of_job(self, job_id: JobId) -> tuple[CallbackRecord, ...]:
        """The job's callbacks, in the order of life."""
        return self._records([_delivery_id(job_id, event) for event in CallbackEvent])

    def unsettled(self, *, undelivered: bool) -> Iterator[CallbackRecord]:
        """Those that were given up, or else those that wait as well; in no order."""
        for index in ("undelivered",) if undelivered else ("undelivered", "outbox"):
            with translated():
                ids = [member for member, _ in self._scripts.client.zscan_iter(f"{PREFIX}{index}", count=_BATCH)]
            for start in range(0, len(ids), _BATCH):
                yield from self._records(ids[start : start + _BATCH])

    def replay(self, delivery_ids: Sequence[str]) -> tuple[str, ...]:
        """Those that are told once more, at once and by a fresh schedule."""
        return tuple(self._scripts.call("redeliver", keys=[f"{PREFIX}outbox"], args=list(delivery_ids)))

    def _records(self, delivery_ids: Sequence[str]) -> tuple[CallbackRecord, ...]:
        lines = self._scripts.call("callbacks", keys=[f"{PREFIX}outbox"], args=list(delivery_ids))
        return tuple(_record(line) for line in lines)

    def _settle(self, delivery_id: str, outcome: str, *, in_s: float = 0.0, error: str = "") -> bool:
        args = [delivery_id, outcome, in_s, error[:MAX_ERROR]]
        return bool(self._scripts.call("settle", keys=[f"{PREFIX}outbox"], args=args))


def _record(line: Sequence[str]) -> CallbackRecord:
    delivery_id, tenant, url, at, attempts, due, given_up_at, delivered_at, error = line
    job_id, event = _told(delivery_id)
    settled = DeliveryState.UNDELIVERED if given_up_at else DeliveryState.DELIVERED
    return CallbackRecord(
        id=delivery_id,
        job_id=job_id,
        tenant=TenantId(tenant),
        event=event,
        url=url,
        state=DeliveryState.WAITING if due else settled,
        attempts=int(attempts),
        happened_at=float(at),
        next_attempt_at=float(due) if due else None,
        delivered_at=float(delivered_at) if delivered_at else None,
        error=error or None,
    )


def _delivery_id(job_id: JobId, event: CallbackEvent) -> str:
    return f"msg_{job_id.removeprefix('job_')}_{event.removeprefix('job.')}"


def _told(delivery_id: str) -> tuple[JobId | BatchId, CallbackEvent | BatchEvent]:
    """Whose event it is, and which: the inverse of ``_delivery_id``, and of what ``emit_batch`` makes."""
    kind, hexadecimal, *_, event = delivery_id.split("_")
    if kind == "batchmsg":
        return BatchId(f"batch_{hexadecimal}"), BatchEvent(f"batch.{event}")
    return JobId(f"job_{hexadecimal}"), CallbackEvent(f"job.{event}")
