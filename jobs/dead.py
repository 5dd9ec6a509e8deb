"""Dead letters: jobs that were given up though nothing was found wrong with what they ask for. An operator decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.codec import UnreadableRecord, job_from_record
from jobs.connection import PREFIX, Scripts, job_key, translated
from jobs.model import Job, JobId

#: Records read in one round trip.
_BATCH = 100


class DeadLetters:
    """What was given up and has a record still: they go when records go (``record_ttl_s``)."""

    def __init__(self, scripts: Scripts) -> None:
        self._redis = scripts.client

    def jobs(self, *, unreadable: list[JobId] | None = None) -> Iterator[Job]:
        """All of them, the latest first; those of a newer form than this code reads go into ``unreadable`` instead.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        unreadable = [] if unreadable is None else unreadable
        with translated():
            ids: Any = self._redis.zrange(f"{PREFIX}dead", 0, -1, desc=True)
        for start in range(0, len(ids), _BATCH):
            yield from self._read([JobId(job_id) for job_id in ids[start : start + _BATCH]], unreadable)

    def _read(self, ids: list[JobId], unreadable: list[JobId]) -> Iterator[Job]:
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hgetall(job_key(job_id))
            records: list[dict[str, str]] = pipeline.execute()
        for job_id, record in zip(ids, records, strict=True):
            if "dead" not in record:
                continue
            try:
                job = job_from_record(job_id, record)
            except UnreadableRecord:
                unreadable.append(job_id)
            else:
                yield job


def causes_of(job: Job) -> tuple[str, ...]:
    """By what names a dead letter can be found: its failure's code, and what its processes died of."""
    code = (job.failure.code,) if job.failure else ()
    return code + tuple(dict.fromkeys(death.cause for death in job.deaths))
