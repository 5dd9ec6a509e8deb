"""The job store: every transition is one Lua call on Redis' clock, so nothing can be half done.

The record is the only truth. Whoever waits for a job asks here; Celery's messages carry ids and may be lost, doubled
or forged. Methods may be called again after ``StoreUnavailable``: each gives the same outcome the second time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import redis
import structlog

from jobs.admission import Admission, Load
from jobs.backlog import Backlog, Slots, actual_cost, faces_of, megapixels_of
from jobs.batches.store import Batches
from jobs.codec import (
    VERSION,
    UnreadableRecord,
    dump_json,
    failure_to_json,
    job_from_record,
    result_to_json,
)
from jobs.connection import PREFIX, Scripts, as_record, dial, job_key, translated
from jobs.dead import DeadLetters
from jobs.doctor import Doctor
from jobs.errors import (
    DeadlineExceeded,
    Fenced,
    IllegalMove,
    InvalidRequest,
    JobNotFound,
    JobsError,
    Poison,
    SpecForged,
    TooManyInterruptions,
)
from jobs.figures import Figures, Share, read_figures, read_shares
from jobs.keys import Keyring
from jobs.logs import current_request
from jobs.model import Decision, Failure, Job, JobId, Priority, Progress, Result, Tenant, TenantId, new_job_id
from jobs.options import JobOptions
from jobs.outbox import CallbackRecord, Delivery, Outbox
from jobs.outcomes import Beat, ClaimRefusal, Idempotency, Page, Submitted
from jobs.paces import UPSAMPLE_S, Paces, device_s, sort_of
from jobs.price import Price
from jobs.rates import Rates
from jobs.retention import Expired, Retention, SweepReport, Upload, UploadNotFound
from jobs.settings import JobsSettings
from jobs.signing import Seal
from jobs.states import MAX_DEATHS, TERMINAL, JobState
from jobs.tenants import Tenants
from jobs.trace_context import current_trace

__all__ = [
    "Beat",
    "CallbackRecord",
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

logger = structlog.get_logger(__name__)

#: The longest page of a list.
MAX_PAGE = 200
#: Decisions about one result; whoever needs more is not deciding.
MAX_REVIEWS = 100


class JobStore:
    """Jobs in Redis. Safe to share between threads."""

    def __init__(self, redis: redis.Redis, settings: JobsSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._scripts = Scripts(redis)
        self._policy = _policy(settings)
        self._seal = Seal(settings)
        self._admission = Admission(self._scripts, settings, self._seal)
        #: Who may call the API.
        self.keys = Keyring(self._scripts, self._seal)
        #: Who shares the service.
        self.tenants = Tenants(self._scripts, self._seal)
        #: How often callers may ask.
        self.rates = Rates(self._scripts)
        #: What was given up, for operators.
        self.dead = DeadLetters(self._scripts)
        #: Many pictures under one record.
        self.batches = Batches(self._scripts, settings, self._seal, self._admission)
        #: How fast devices are.
        self.paces = Paces(self._scripts)
        self._backlog = Backlog(self._scripts, resend_after_s=settings.resend_after_s)
        self._outbox = Outbox(self._scripts, is_genuine=self._is_genuine, is_genuine_batch=self.batches.is_genuine)
        self._retention = Retention(self._scripts, bucket=settings.bucket, upload_ttl_s=settings.upload_ttl_s)

    @property
    def price(self) -> Price | None:
        """Of an hour of a device, if the operator has said it."""
        return self._settings.price

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
        return job_from_record(job_id, self._record(job_id, tenant))

    def get_genuine(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job:
        """The job, sure to ask for just what was submitted: for whoever would act on that.

        Raises:
            SpecForged: its record is not signed by us.
            JobNotFound: there is none, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        record = self._record(job_id, tenant)
        if not self._is_genuine(job_id, record):
            raise SpecForged(job_id)
        return job_from_record(job_id, record)

    def list(
        self,
        tenant: TenantId,
        *,
        cursor: str | None = None,
        limit: int = 50,
        state: JobState | None = None,
        review: Decision | Literal["pending"] | None = None,
        created_after: float | None = None,
        created_before: float | None = None,
        batch: str | None = None,
    ) -> Page:
        """One page of a tenant's jobs, newest first; submitted at ``created_after`` or later, and before the other.

        With ``review`` only those with this latest decision, or that succeeded and wait for one; with ``batch`` only
        its items. Such a page may hold fewer than ``limit``, even none, and have a next one. Jobs whose records cannot
        be read are named, and counted in ``limit``.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            StoreUnavailable: Redis did not answer.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 16):
            raise InvalidRequest("the cursor is not one that a page gave", pointer="/cursor")
        states = [state] if state else [JobState.SUCCEEDED] if review == "pending" else list(JobState)
        # A job's number is the time of its submission.
        bounds = [int(cursor)] if cursor is not None else []
        bounds += [_seq(created_before)] if created_before is not None else []
        lowest = "" if created_after is None else _seq(created_after)
        newest = min(bounds, default="")
        args = [tenant, newest, max(1, min(limit, MAX_PAGE)), review or "", lowest, batch or "", *states]
        last, *records = self._scripts.call("list", keys=[f"{PREFIX}index:{tenant}:queued"], args=args)
        jobs: list[Job] = []
        unreadable: list[JobId] = []
        for record in map(as_record, records):
            job_id = JobId(record["id"])
            try:
                jobs.append(job_from_record(job_id, record))
            except UnreadableRecord as err:
                # Of a newer process, in an upgrade that is under way: no reason to show none of the others.
                logger.warning("job left out of a list", job_id=job_id, error=str(err))
                unreadable.append(job_id)
        return Page(jobs=tuple(jobs), next_cursor=last or None, unreadable=tuple(unreadable))

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

    def review(self, job_id: JobId, *, tenant: TenantId, decision: Decision, note: str = "", by: str = "") -> Job:
        """The job with a person's decision about its result; the latest one counts, those before stay on record.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
            IllegalMove: it has no result (yet, any more), or as many decisions as a record may hold.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("review", job_id, tenant, decision, note, by, MAX_REVIEWS)

    def replay(
        self,
        job_id: JobId,
        *,
        tenant: TenantId | None = None,
        options: JobOptions | None = None,
        idempotency: Idempotency | None = None,
    ) -> Submitted:
        """A new job on a finished one's picture, named in ``replay_of``, that asks for the same, or for ``options``.

        Raises:
            IllegalMove: the job is not finished yet.
            JobNotFound: there is none, or it is another tenant's.
            SpecForged: its record is not signed by us.
            IdempotencyMismatch, QuotaExceeded, StoreUnavailable: see ``submit``.
        """
        # Else a forged one would be signed anew.
        old = self.get_genuine(job_id, tenant=tenant)
        if old.state not in TERMINAL:
            raise IllegalMove(f"replay of {job_id}: it is {old.state}")
        again = Job(
            id=new_job_id(),
            tenant=old.tenant,
            input=old.input,
            kind=old.kind,
            options=options or old.options,
            priority=old.priority,
            callback=old.callback,
            metadata=old.metadata,
            deadline_s=old.deadline_s,
            input_bytes=old.input_bytes,
            input_etag=old.input_etag,
            input_sha256=old.input_sha256,
            input_type=old.input_type,
            replay_of=old.id,
            request_id=current_request(),
            trace=current_trace(),
        )
        return self.submit(again, idempotency=idempotency)

    def load(self) -> Load:
        """What is unfinished, and how fast it gets done.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return self._admission.load()

    def set_tenant(self, tenant: Tenant) -> None:
        """Say what a tenant is entitled to, from its next submit and its next turn on.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        self.tenants.set(tenant)

    def tenant(self, tenant_id: TenantId) -> Tenant:
        """What a tenant is entitled to.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return self.tenants.entitlement(tenant_id)

    # -- workers

    def claim(self, job_id: JobId, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        """The job, now this worker's until its lease ends, or why not.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        args = [self._policy, job_id, worker, lease_s, secrets.token_hex(8), VERSION]
        return self._claimed(self._scripts.call("claim", keys=[job_key(job_id)], args=args))

    def claim_suspect(self, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        """The next suspect, fairly between tenants, for a worker that holds nothing and gets nothing else meanwhile.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        args = [self._policy, worker, lease_s, secrets.token_hex(8), VERSION]
        return self._claimed(self._scripts.call("claim_suspect", keys=[f"{PREFIX}held:{worker}"], args=args))

    def hand_back(self, job_id: JobId) -> bool:
        """Say that what was sent here cannot be taken here; whether it will be sent again at once.

        Raises:
            StoreUnavailable: Redis did not answer. It is sent again a little later.
        """
        return self._backlog.hand_back(job_id)

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
        return self._transition(
            "commit",
            job_id,
            epoch,
            result_to_json(result),
            actual_cost(result),
            megapixels_of(result),
            device_s(result),
            result.metrics.get(UPSAMPLE_S, 0.0),
            sort_of(result) or "",
            faces_of(result),
        )

    def fail(self, job_id: JobId, *, epoch: int | None, failure: Failure) -> Job:
        """The job, failed. ``epoch`` None: nobody has claimed it.

        Raises:
            Fenced: another attempt owns the job.
            IllegalMove: it has ended already, or was claimed.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("fail", job_id, "" if epoch is None else epoch, failure_to_json(failure))

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: str | None = None) -> Job:
        """The job, waiting again at the head of its backlog; without ``charge`` the attempt is not counted.

        Where its owner canceled it meanwhile, its deadline is past or its attempts are used up, it ends instead. With
        the ``cause`` by which it ends its process, such as ``hang``, it counts as in ``release_worker``, also where its
        lease has just lapsed and nobody else has it yet.

        Raises:
            Fenced: another attempt owns the job, or (without a cause) it waits already.
            IllegalMove: it has ended already.
            JobNotFound: there is no such job any more.
            StoreUnavailable: Redis did not answer.
        """
        return self._transition("release", job_id, epoch, int(charge), cause or "")

    def release_worker(self, worker: str, *, charge: bool, cause: str | None = None) -> dict[JobId, JobState]:
        """The jobs that a dead process still held, and what they are now: waiting again, or at their end.

        With the ``cause`` of a death by its own fault, such as ``SIGSEGV``, its jobs become suspects, which run alone.
        A suspect whose process dies so has done it itself; the third time it fails as ``poison``.

        Raises:
            StoreUnavailable: Redis did not answer. Their leases lapse.
        """
        args = [self._policy, worker, int(charge), cause or ""]
        keys = [f"{PREFIX}held:{worker}", f"{PREFIX}lapsed:{worker}"]
        flat = self._scripts.call("release_worker", keys=keys, args=args)
        return {JobId(job_id): JobState(state) for job_id, state in zip(flat[::2], flat[1::2], strict=True)}

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

    def publish_slots(self, slots: Slots) -> bool:
        """Say what a worker could take, for three of its heartbeats. True: it is to take nothing but a suspect."""
        return self._backlog.publish_slots(slots)

    def withdraw_slots(self, worker: str) -> None:
        """Say that a worker takes nothing any more."""
        self._backlog.withdraw_slots(worker)

    def slots(self) -> tuple[Slots, ...]:
        """What every living worker said last."""
        return self._backlog.slots()

    def seclude(self, worker: str, *, limit: int, ttl_s: float) -> bool:
        """Choose a worker to run a suspect, if fewer than ``limit`` are chosen; it is given nothing else meanwhile."""
        return self._backlog.seclude(worker, limit=limit, ttl_s=ttl_s)

    def take(self, *, credits: int, priority: Priority, sent: int | None = None) -> tuple[JobId, ...]:
        """Up to ``credits`` jobs to send now, fairly between tenants; each counts as sent.

        ``sent``: how many were on their way when the credits were counted; more by now are taken off.
        """
        return self._backlog.take(credits=credits, priority=priority, sent=sent)

    def nudged(self, *, within_s: float) -> bool:
        """Wait until a job has come that there is room for, or room for one that waits; False: not within that time.

        That is never longer than a second. One of those who wait hears of it. Nothing depends on it: who looks every
        so often finds the same.
        """
        return self._backlog.nudged(within_s=within_s)

    def overdue_sent(
        self, *, limit: int, priorities: Sequence[Priority] = tuple(Priority)
    ) -> tuple[tuple[JobId, Priority], ...]:
        """Jobs sent ``resend_after_s`` ago and not claimed: to be sent again, and counting as sent now."""
        return self._backlog.overdue_sent(limit=limit, priorities=priorities)

    def counts(self) -> dict[str, int]:
        """How much there is of everything that waits or runs; ``jobs/lua/counts.lua`` lists the names."""
        return self._backlog.counts()

    # -- operators

    def figures(self) -> Figures:
        """How things stand, in figures; one reading looks at so much and no more.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return read_figures(self._scripts, counts=self.counts(), slots=self.slots())

    def shares(self, *, limit: int) -> tuple[Share, ...]:
        """Whose jobs wait, those with most first.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return read_shares(self._scripts, limit=limit)

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
        """Callbacks to send now. Nobody else is offered them for ``lease_s``.

        Those of records that are not signed by us are not among them: they are given up.
        """
        return self._outbox.due(limit=limit, lease_s=lease_s)

    def callback_delivered(self, delivery_id: str) -> None:
        self._outbox.delivered(delivery_id)

    def callback_failed(self, delivery_id: str, *, retry_in_s: float | None, error: str) -> None:
        """Try again later, or never (None)."""
        self._outbox.failed(delivery_id, retry_in_s=retry_in_s, error=error)

    def callback_held(self, delivery_id: str, *, for_s: float) -> None:
        """It was not tried now; offer it again later, as if nothing had been."""
        self._outbox.held(delivery_id, for_s=for_s)

    def callback_gone(self, delivery_id: str, *, error: str) -> None:
        """Its endpoint wants no more: neither this one nor others of the same tenant."""
        self._outbox.gone(delivery_id, error=error)

    def callbacks(self, job_id: JobId, *, tenant: TenantId | None = None) -> tuple[CallbackRecord, ...]:
        """What became of the job's callbacks, those whose event has happened.

        Raises:
            JobNotFound: there is no such job, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        self.get(job_id, tenant=tenant)
        return self._outbox.of_job(job_id)

    def unsettled_callbacks(self, *, undelivered: bool) -> Iterator[CallbackRecord]:
        """Of all jobs: those that were given up, and unless ``undelivered`` those that wait as well."""
        return self._outbox.unsettled(undelivered=undelivered)

    def replay_callbacks(self, delivery_ids: Sequence[str]) -> tuple[str, ...]:
        """Tell these once more, under the same ids, by a fresh schedule; which of them are told."""
        return self._outbox.replay(delivery_ids)

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

    def _record(self, job_id: JobId, tenant: TenantId | None) -> dict[str, str]:
        with translated():
            record: Any = self._redis.hgetall(job_key(job_id))
        if not record or (tenant is not None and record["tenant"] != tenant):
            raise JobNotFound(job_id)
        return dict(record)

    def _claimed(self, answer: Sequence[Any]) -> Job | ClaimRefusal:
        if answer[0] != "ok":
            return ClaimRefusal(answer[0])
        _, flat, name = answer
        job_id, record = JobId(name), as_record(flat)
        # Before a word of it is read: whoever can write to Redis does not say what is fetched from storage.
        if not self._is_genuine(job_id, record):
            args = [self._policy, job_id, record["epoch"], failure_to_json(_failure(SpecForged))]
            self._scripts.call("forged", keys=[job_key(job_id)], args=args)
            return ClaimRefusal.FORGED
        try:
            return job_from_record(job_id, record)
        except UnreadableRecord:
            # By a newer process that should have said so in its form. The attempt counts, so that it ends some day.
            return ClaimRefusal.UNREADABLE

    def _is_genuine(self, job_id: JobId, record: Mapping[str, str]) -> bool:
        words = (record.get(name, "") for name in ("tenant", "lane", "spec"))
        return self._seal.is_genuine(record.get("code"), "job", job_id, *words)

    def _transition(self, script: str, job_id: JobId, *args: str | int | float) -> Job:
        status, *rest = self._scripts.call(script, keys=[job_key(job_id)], args=[self._policy, job_id, *args])
        if status == "ok":
            return job_from_record(job_id, as_record(rest[0]))
        if status == "gone":
            raise JobNotFound(job_id)
        error = Fenced if status == "fenced" else IllegalMove
        raise error(f"{script} of {job_id}: it is {rest[0]}")


def _seq(seconds: float) -> int:
    return round(seconds * 1e6)


def _policy(settings: JobsSettings) -> str:
    return dump_json(
        {
            "result_ttl_s": settings.result_ttl_s,
            "record_ttl_s": settings.record_ttl_s,
            "max_attempts": settings.max_attempts,
            "max_deaths": MAX_DEATHS,
            "deadline_failure": failure_to_json(_failure(DeadlineExceeded)),
            "interrupted_failure": failure_to_json(_failure(TooManyInterruptions)),
            "poison_failure": failure_to_json(_failure(Poison)),
        }
    )


def _failure(error: type[JobsError]) -> Failure:
    return Failure(code=error.code, title=error.public, detail=error.public)
