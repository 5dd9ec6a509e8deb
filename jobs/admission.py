"""Accepting jobs: once for each key, within quota, and only when enough servers have them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backlog import estimated_cost
from jobs.codec import accepted, event_names, form_of, job_from_record, spec_to_json
from jobs.connection import PREFIX, Scripts, as_record, job_key, translated
from jobs.errors import DailyQuotaExceeded, IdempotencyMismatch, Overloaded, QuotaExceeded, StoreUnavailable
from jobs.model import Job, JobId
from jobs.object_names import upload_id_of
from jobs.outcomes import Idempotency, Submitted
from jobs.settings import JobsSettings
from jobs.signing import Seal

#: How long a submit waits for its replicas, and for how long what INFO said about them is believed.
WAIT_MS = 200
REPLICAS_KNOWN_S = 1.0


#: A backlog at its limit is worth coming back to when so much of it is done.
ROOM = 0.1
#: Retry-After is never outside of this (seconds); the middle one is said while nothing was measured.
RETRY_S = (1.0, 30.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is unfinished in the whole installation, and how fast it gets done."""

    jobs: int
    work: float  #: as estimated at submit, in megapixels
    throughput: float  #: of such work a second, measured while there was some; 0 = not known

    def room_s(self) -> float:
        """Until a tenth of the backlog is done."""
        return self._bounded(ROOM * self.work)

    def next_of_s(self, own_jobs: int) -> float:
        """Until one more of a tenant's ``own_jobs`` has ended, if they are as large as others' and served as they."""
        return self._bounded(self.work / max(1, own_jobs))

    def _bounded(self, work: float) -> float:
        shortest, unknown, longest = RETRY_S
        return min(max(work / self.throughput, shortest), longest) if self.throughput > 0 else unknown


def _load(told: Sequence[Any]) -> Load:
    jobs, work, throughput = told
    return Load(jobs=int(jobs), work=float(work), throughput=float(throughput))


def _refuse(job: Job, status: str, rest: Sequence[Any]) -> None:
    """Raise what a submit was refused for, if it was."""
    if status == "mismatch":
        raise IdempotencyMismatch("key was used with another request")
    if status == "daily":
        raise DailyQuotaExceeded(f"{rest[0]} megapixels a day", retry_after_s=float(rest[1]))
    if status == "quota":
        limit, told, own = rest
        raise QuotaExceeded(
            f"{job.tenant} has {limit} unfinished jobs, as many as it may have",
            retry_after_s=_load(told).next_of_s(int(own)),
        )
    if status == "busy":
        load = _load(rest[0])
        raise Overloaded(f"{load.jobs} jobs are unfinished, as many as there may be", retry_after_s=load.room_s())


class Admission:
    """The way into the store."""

    def __init__(self, scripts: Scripts, settings: JobsSettings, seal: Seal) -> None:
        self._scripts = scripts
        self._settings = settings
        self._seal = seal
        self._replicas, self._replicas_seen = 0, float("-inf")

    def submit(self, job: Job, *, idempotency: Idempotency | None) -> Submitted:
        args = self._args(job, idempotency=idempotency)
        status, *rest = self._durably(job_key(job.id), args)
        _refuse(job, status, rest)
        if status == "new":
            seq, suspect = rest
            return Submitted(job=accepted(job, seq=int(seq), is_suspect=bool(suspect)), replayed=False)
        record, job_id = rest
        return Submitted(job=job_from_record(JobId(job_id), as_record(record)), replayed=status == "replayed")

    def submit_items(self, items: Sequence[tuple[Job, int]], *, epoch: int) -> list[QuotaExceeded | bool]:
        """Submit jobs of a batch, each with the part of the report where its row will go, in one round trip.

        For each: True, it is submitted; False, it has its row, or another runner has the batch; or why not now.
        Replicas are not waited for: what a failover loses is found missing and submitted again.
        """
        calls = [([job_key(job.id)], self._args(job, part=part, epoch=epoch)) for job, part in items]
        outcomes: list[QuotaExceeded | bool] = []
        for (job, _), answer in zip(items, self._scripts.call_each("submit", calls), strict=True):
            status, *rest = answer
            try:
                _refuse(job, status, rest)
            except QuotaExceeded as err:
                outcomes.append(err)
            else:
                outcomes.append(status != "fenced")
        return outcomes

    def _args(
        self,
        job: Job,
        *,
        idempotency: Idempotency | None = None,
        part: int | None = None,
        epoch: int | None = None,
    ) -> list[str | int | float]:
        key = hashlib.sha256(idempotency.key.encode()).hexdigest() if idempotency else ""
        spec = spec_to_json(job)
        return [
            job.id,
            job.tenant,
            job.priority,
            estimated_cost(job.input_bytes),
            spec,
            event_names(job.callback),
            "" if job.deadline_s is None else job.deadline_s,
            upload_id_of(job.input, bucket=self._settings.bucket, tenant=job.tenant) or "",
            key,
            idempotency.fingerprint if idempotency else "",
            self._settings.idempotency_ttl_s,
            self._settings.max_waiting_jobs,
            form_of(job),
            job.replay_of or "",
            self._seal.code("job", job.id, job.tenant, job.priority, spec),
            self._settings.max_unfinished_jobs,
            job.batch or "",
            "" if part is None else part,
            "" if job.item is None else job.item,
            "" if epoch is None else epoch,
        ]

    def load(self) -> Load:
        return _load(self._scripts.call("load", keys=[f"{PREFIX}load"]))

    def _durably(self, key: str, args: Sequence[str | int | float]) -> Any:
        """The script's answer, once as many replicas have it as there must be."""
        replicas = self._settings.redis_min_replicas or min(1, self._connected_replicas())
        if not replicas:
            return self._scripts.call("submit", keys=[key], args=args)
        answer, acknowledged = self._scripts.call_and_wait(
            "submit", keys=[key], args=args, replicas=replicas, wait_ms=WAIT_MS
        )
        if acknowledged < replicas:
            raise StoreUnavailable(f"{acknowledged} of {replicas} replicas have it after {WAIT_MS} ms")
        return answer

    def _connected_replicas(self) -> int:
        if time.monotonic() - self._replicas_seen > REPLICAS_KNOWN_S:
            with translated():
                info: dict[str, Any] = self._scripts.client.info("replication")
            self._replicas, self._replicas_seen = int(info["connected_slaves"]), time.monotonic()
        return self._replicas
