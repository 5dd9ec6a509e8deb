"""Callbacks that have to be told, at least once each: the callback sender's side of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs import callbacks
from jobs.codec import job_from_record
from jobs.connection import PREFIX, Scripts
from jobs.model import CallbackEvent, JobId

#: Room for what went wrong; the record is for operators, not an archive of answers.
MAX_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One callback to send now."""

    id: str  #: ``msg_…``, the same over all attempts: the receiver's key against doubles
    job_id: JobId
    event: CallbackEvent
    url: str
    body: str  #: JSON, the same over all attempts
    attempt: int  #: 1 for the first


class Outbox:
    """One entry per job and event, written in the same call as the move that it tells of."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def due(self, *, limit: int, lease_s: float) -> tuple[Delivery, ...]:
        entries = self._scripts.call("deliveries", keys=[f"{PREFIX}outbox"], args=[limit, lease_s])
        found = (_delivery(entry) for entry in entries)
        return tuple(delivery for delivery in found if delivery is not None)

    def delivered(self, delivery_id: str) -> bool:
        return self._settle(delivery_id, "delivered")

    def failed(self, delivery_id: str, *, retry_in_s: float | None, error: str) -> bool:
        if retry_in_s is None:
            return self._settle(delivery_id, "gave_up", error=error)
        return self._settle(delivery_id, "retry", retry_in_s=retry_in_s, error=error)

    def _settle(self, delivery_id: str, outcome: str, *, retry_in_s: float = 0.0, error: str = "") -> bool:
        args = [delivery_id, outcome, retry_in_s, error[:MAX_ERROR]]
        return bool(self._scripts.call("settle", keys=[f"{PREFIX}outbox"], args=args))


def _delivery(entry: Sequence[Any]) -> Delivery | None:
    delivery_id, attempt, at, flat = entry
    job = job_from_record(JobId(f"job_{delivery_id.split('_')[1]}"), dict(zip(flat[::2], flat[1::2], strict=True)))
    if job.callback is None:
        return None
    event = CallbackEvent(f"job.{delivery_id.rsplit('_', 1)[1]}")
    return Delivery(
        id=delivery_id,
        job_id=job.id,
        event=event,
        url=job.callback.url,
        body=callbacks.body(job, event, at=float(at)),
        attempt=int(attempt),
    )
