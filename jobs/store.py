"""The job store: every transition is one Lua call on Redis' clock, so nothing can be half done.

The record is the only truth. Whoever waits for a job asks here; Celery's messages carry ids and may be lost, doubled
or forged. Methods may be called again after ``StoreUnavailable``: each gives the same outcome the second time.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import redis

from jobs.admission import Admission
from jobs.backlog import Backlog, Slots, actual_cost
from jobs.codec import (
    VERSION,
    dump_json,
    failure_to_json,
    job_from_record,
    result_to_json,
)
from jobs.connection import PREFIX, Scripts, as_record, dial, job_key, translated
from jobs.doctor import Doctor
from jobs.errors import (
    DeadlineExceeded,
    Fenced,
    IllegalMove,
    InvalidRequest,
    JobNotFound,
    JobsError,
    TooManyInterruptions,
)
from jobs.model import Failure, Job, JobId, Priority, Progress, Result, Tenant, TenantId, new_job_id
from jobs.outbox import Delivery, Outbox
from jobs.outcomes import Beat, ClaimRefusal, Idempotency, Page, Submitted
from jobs.retention import Expired, Retention, SweepReport, Upload, UploadNotFound
from jobs.settings import JobsSettings
from jobs.states import TERMINAL, JobState

__all__ = [
    "Beat",
    "ClaimRefusal",
    "Delivery",
    "Expired",
    "Idempotency",
    "JobStore",
    "Page",
    "Slots",
    "Submitted",
    "SweepReport",
    "Upload",
    "UploadNotFound",
]

#: The longest page of a list.
MAX_PAGE = 200


class JobStore:
    """Jobs in Redis. Safe to share between threads."""

    def __init__(self, redis: redis.Redis, settings: JobsSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._scripts = Scripts(redis)
        self._policy = _policy(settings)
        self._admission = Admission(self._scripts, settings)
        self._backlog = Backlog(self._scripts, resend_after_s=settings.resend_after_s)
        self._outbox = Outbox(self._scripts)
        self._retention = Retention(self._scripts, upload_ttl_s=settings.upload_ttl_s)

    @classmethod
    def connect(cls, settings: JobsSettings) -> JobStore:
        """A store with a client of its own; nothing is sent yet."""
        return cls(dial(settings), settings)

    def close(self) -> None:
        self._redis.close()

    def doctor(self) -> Doctor:
        """One who looks whether all of this fits together."""
        return Doctor(self._redis)

    def ping(self) -> None:
        """Ask whether Redis answers.

        Raises:
            StoreUnavailable: it does not.
        """
        with translated():
            self._redis.ping()

    # -- submitters

    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        """Accept a job: after this it will end, whatever dies.

        Raises:
            IdempotencyMismatch: the key came before with another request.
            QuotaExceeded: the tenant has as many unfinished jobs as it may have.
            StoreUnavailable: Redis, or a replica that must have it, did not answer. Submit again with the same key.
        """
        return self._admission.submit(job, idempotency=idempotency)

    def get(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job:
        """The job as it is now.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            record: Any = self._redis.hgetall(job_key(job_id))
        if not record or (tenant is not None and record["tenant"] != tenant):
            raise JobNotFound(job_id)
        return job_from_record(job_id, record)

    def list(
        self, tenant: TenantId, *, cursor: str | None = None, limit: int = 50, state: JobState | None = None
    ) -> Page:
        """One page of a tenant's jobs, newest first.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            StoreUnavailable: Redis did not answer.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 16):
            raise InvalidRequest("the cursor is not one that a page gave", pointer="/cursor")
        states = [state] if state else list(JobState)
        args = [tenant, cursor or "", max(1, min(limit, MAX_PAGE)), *states]
        last, *records = self._scripts.call("list", keys=[f"{PREFIX}index:{tenant}:queued"], args=args)
        found = [as_record(flat) for flat in records]
        jobs = tuple(job_from_record(JobId(record["id"]), record) for record in found)
        return Page(jobs=jobs, next_cursor=last or None)

    def cancel(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job:
        """The job after its owner's wish to cancel: at once when queued, soon when processing, unchanged when finished.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        owner = tenant if tenant is not None else self.get(job_id).tenant
        return self._transition("cancel", job_id, owner)

    def delete(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job:
        """The finished job, expired: its results and upload are removed within a sweep, then its record.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
            IllegalMove: it has not ended; cancel it first.
            StoreUnavailable: Redis did not answer.
        """
        owner = tenant if tenant is not None else self.get(job_id).tenant
        return self._transition("delete", job_id, owner)

    def replay(
        self, job_id: JobId, *, tenant: TenantId | None = None, idempotency: Idempotency | None = None
    ) -> Submitted:
        """A new job that asks for the same as a finished one and names it in ``replay_of``.

        Raises:
            IllegalMove: the job is not finished yet.
            JobNotFound: there is none, or it is another tenant's.
            IdempotencyMismatch, QuotaExceeded, StoreUnavailable: see ``submit``.
        """
        old = self.get(job_id, tenant=tenant)
        if old.state not in TERMINAL:
            raise IllegalMove(f"replay of {job_id}: it is {old.state}")
        again = Job(
            id=new_job_id(),
            tenant=old.tenant,
            input=old.input,
            options=old.options,
            priority=old.priority,
            callback=old.callback,
            metadata=old.metadata,
            deadline_s=old.deadline_s,
            input_bytes=old.input_bytes,
            replay_of=old.id,
        )
        return self.submit(again, idempotency=idempotency)

    def set_tenant(self, tenant: Tenant) -> None:
        """Say what a tenant is entitled to, from its next submit and its next turn on.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        quota = "" if tenant.max_unfinished is None else tenant.max_unfinished
        self._scripts.call("tenant", keys=[f"{PREFIX}tenant:{tenant.id}"], args=[tenant.weight, quota])

    def tenant(self, tenant_id: TenantId) -> Tenant:
        """What a tenant is entitled to.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            found: Any = self._redis.hmget(f"{PREFIX}tenant:{tenant_id}", ["weight", "quota"])
        weight, quota = found
        return Tenant(id=tenant_id, weight=float(weight or 1.0), max_unfinished=int(quota) if quota else None)

    # -- workers

    def claim(self, job_id: JobId, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        """The job, now this worker's until its lease ends, or why not.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        token = secrets.token_hex(8)
        args = [self._policy, job_id, worker, lease_s, token, VERSION]
        status, *rest = self._scripts.call("claim", keys=[job_key(job_id)], args=args)
        return job_from_record(job_id, as_record(rest[0])) if status == "ok" else ClaimRefusal(status)

    def beat(self, job_id: JobId, *, epoch: int, lease_s: float, progress: Progress | None = None) -> Beat:
        """Renew the lease; hear whether to go on.

        Raises:
            StoreUnavailable: Redis did not answer. The lease runs on; stop before its end.
        """
        news = [progress.percent, progress.stage] if progress else ["", ""]
        return Beat(self._scripts.call("beat", keys=[job_key(job_id)], args=[job_id, epoch, lease_s, *news]))

    def commit(self, job_id: JobId, *, epoch: int, result: Result) -> Job:
        """The job, succeeded: its result is visible now.

        Raises:
            Fenced: another attempt owns the job. Delete what was written.
            IllegalMove: this attempt ended it already, in another way.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer. It may be committed or not: ask again before deleting anything.
        """
        return self._transition("commit", job_id, epoch, result_to_json(result), actual_cost(result))

    def fail(self, job_id: JobId, *, epoch: int | None, failure: Failure) -> Job:
        """The job, failed. ``epoch`` None: nobody has claimed it.

        Raises:
            Fenced: another attempt owns the job.
            IllegalMove: it has ended already, or was claimed.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("fail", job_id, "" if epoch is None else epoch, failure_to_json(failure))

    def release(self, job_id: JobId, *, epoch: int, charge: bool) -> Job:
        """The job, waiting again at the head of its backlog; without ``charge`` the attempt is not counted.

        Where its owner canceled it meanwhile, its deadline is past or its attempts are used up, it ends instead.

        Raises:
            Fenced: another attempt owns the job, or it waits already.
            IllegalMove: it has ended already.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("release", job_id, epoch, int(charge))

    def canceled(self, job_id: JobId, *, epoch: int) -> Job:
        """The job, canceled by the worker that obeyed.

        Raises:
            Fenced: another attempt owns the job.
            IllegalMove: nobody asked for it, or it has ended already.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("canceled", job_id, epoch)

    # -- feeder

    def publish_slots(self, slots: Slots) -> None:
        """Say what a worker could take; holds for three of its heartbeats."""
        self._backlog.publish_slots(slots)

    def withdraw_slots(self, worker: str) -> None:
        """Say that a worker takes nothing any more."""
        self._backlog.withdraw_slots(worker)

    def slots(self) -> tuple[Slots, ...]:
        """What every living worker said last."""
        return self._backlog.slots()

    def take(self, *, credits: int, priority: Priority) -> tuple[JobId, ...]:
        """Up to ``credits`` jobs to send now, fairly between tenants; each counts as sent."""
        return self._backlog.take(credits=credits, priority=priority)

    def overdue_sent(
        self, *, limit: int, priorities: Sequence[Priority] = tuple(Priority)
    ) -> tuple[tuple[JobId, Priority], ...]:
        """Jobs sent ``resend_after_s`` ago and not claimed: to be sent again, and counting as sent now."""
        return self._backlog.overdue_sent(limit=limit, priorities=priorities)

    def counts(self) -> dict[str, int]:
        """``waiting_<priority>``, ``sent_<priority>``, ``processing``, ``outbox``, ``undelivered``, ``trash``."""
        return self._backlog.counts()

    # -- sweeper and callback sender

    def sweep(self, *, limit: int = 100) -> SweepReport:
        """End leases and deadlines that passed, expire and retire what is old; at most ``limit`` of each kind."""
        return self._retention.sweep(self._policy, limit=limit)

    def expired_objects(self, *, limit: int = 100) -> tuple[Expired, ...]:
        """Objects to delete now. Nobody else is offered them for a minute."""
        return self._retention.expired_objects(limit=limit)

    def forget_objects(self, expired: Sequence[Expired]) -> None:
        """Say that these objects are gone."""
        self._retention.forget_objects(expired)

    def due_callbacks(self, *, limit: int, lease_s: float) -> tuple[Delivery, ...]:
        """Callbacks to send now. Nobody else is offered them for ``lease_s``."""
        return self._outbox.due(limit=limit, lease_s=lease_s)

    def callback_delivered(self, delivery_id: str) -> None:
        self._outbox.delivered(delivery_id)

    def callback_failed(self, delivery_id: str, *, retry_in_s: float | None, error: str) -> None:
        """Try again later, or never (None)."""
        self._outbox.failed(delivery_id, retry_in_s=retry_in_s, error=error)

    def lock(self, name: str, *, ttl_s: float) -> bool:
        """True for one caller at a time; it opens by itself. Spreads work, guards nothing: every step is safe twice."""
        with translated():
            return bool(self._redis.set(f"{PREFIX}lock:{name}", "1", nx=True, px=max(1, int(ttl_s * 1000))))

    # -- uploads

    def register_upload(self, upload: Upload) -> Upload:
        """The upload with the time when it expires."""
        return self._retention.register_upload(upload)

    def get_upload(self, upload_id: str, *, tenant: TenantId) -> Upload:
        """The upload.

        Raises:
            UploadNotFound: there is none, it has expired, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        return self._retention.get_upload(upload_id, tenant=tenant)

    # -- ours

    def _transition(self, script: str, job_id: JobId, *args: str | int | float) -> Job:
        status, *rest = self._scripts.call(script, keys=[job_key(job_id)], args=[self._policy, job_id, *args])
        if status == "ok":
            return job_from_record(job_id, as_record(rest[0]))
        if status == "gone":
            raise JobNotFound(job_id)
        error = Fenced if status == "fenced" else IllegalMove
        raise error(f"{script} of {job_id}: it is {rest[0]}")


def _policy(settings: JobsSettings) -> str:
    return dump_json(
        {
            "result_ttl_s": settings.result_ttl_s,
            "record_ttl_s": settings.record_ttl_s,
            "max_attempts": settings.max_attempts,
            "deadline_failure": failure_to_json(_failure(DeadlineExceeded)),
            "interrupted_failure": failure_to_json(_failure(TooManyInterruptions)),
        }
    )


def _failure(error: type[JobsError]) -> Failure:
    return Failure(code=error.code, title=error.public, detail=error.public)
