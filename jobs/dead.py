"""Dead letters: jobs that were given up though nothing was found wrong with what they ask for. An operator decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.codec import job_from_record
from jobs.connection import PREFIX, Scripts, job_key, translated
from jobs.model import Job, JobId

#: Records read in one round trip.
_BATCH = 100


class DeadLetters:
    """What was given up and has a record still: they go when records go (``record_ttl_s``)."""

    def __init__(self, scripts: Scripts) -> None:
        self._redis = scripts.client

    def jobs(self) -> Iterator[Job]:
        """All of them, the latest first.

        Raises:
            StoreUnavailable: Redis did not answer.
            UnreadableRecord: one is of a newer form than this code reads.
        """
        with translated():
            ids: Any = self._redis.zrange(f"{PREFIX}dead", 0, -1, desc=True)
        for start in range(0, len(ids), _BATCH):
            yield from self._read([JobId(job_id) for job_id in ids[start : start + _BATCH]])

    def _read(self, ids: list[JobId]) -> Iterator[Job]:
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hgetall(job_key(job_id))
            records: list[dict[str, str]] = pipeline.execute()
        for job_id, record in zip(ids, records, strict=True):
            if "dead" in record:
                yield job_from_record(job_id, record)


def causes_of(job: Job) -> tuple[str, ...]:
    """By what names a dead letter can be found: its failure's code, and what its processes died of."""
    code = (job.failure.code,) if job.failure else ()
    return code + tuple(dict.fromkeys(death.cause for death in job.deaths))
