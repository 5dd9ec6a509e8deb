"""Accepting jobs: once for each key, within quota, and only when enough servers have them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from jobs.backlog import estimated_cost
from jobs.blobs import upload_id_of
from jobs.codec import VERSION, event_names, job_from_record, spec_to_json
from jobs.connection import Scripts, as_record, job_key, translated
from jobs.errors import IdempotencyMismatch, QuotaExceeded, StoreUnavailable
from jobs.model import Job, JobId
from jobs.outcomes import Idempotency, Submitted
from jobs.settings import JobsSettings

#: How long a submit waits for its replicas, and for how long what INFO said about them is believed.
WAIT_MS = 200
REPLICAS_KNOWN_S = 1.0


class Admission:
    """The way into the store."""

    def __init__(self, scripts: Scripts, settings: JobsSettings) -> None:
        self._scripts = scripts
        self._settings = settings
        self._replicas, self._replicas_seen = 0, float("-inf")

    def submit(self, job: Job, *, idempotency: Idempotency | None) -> Submitted:
        key = hashlib.sha256(idempotency.key.encode()).hexdigest() if idempotency else ""
        args: list[str | int | float] = [
            job.id,
            job.tenant,
            job.priority,
            estimated_cost(job.input_bytes),
            spec_to_json(job),
            event_names(job.callback),
            "" if job.deadline_s is None else job.deadline_s,
            upload_id_of(job.input, bucket=self._settings.bucket, tenant=job.tenant) or "",
            key,
            idempotency.fingerprint if idempotency else "",
            self._settings.idempotency_ttl_s,
            self._settings.max_waiting_jobs,
            VERSION,
        ]
        status, *rest = self._durably(job_key(job.id), args)
        if status == "mismatch":
            raise IdempotencyMismatch("key was used with another request")
        if status == "quota":
            raise QuotaExceeded(f"{job.tenant} has {rest[0]} unfinished jobs, as many as it may have")
        record, job_id = rest
        return Submitted(job=job_from_record(JobId(job_id), as_record(record)), replayed=status == "replayed")

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
