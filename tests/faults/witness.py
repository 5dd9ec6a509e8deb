"""Collaborators that note in the history what they did, for the checker; everything else is the real ones' doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jobs.errors import IllegalMove, JobNotFound
from jobs.model import Failure, Job, JobId, ObjectRef, Result
from jobs.settings import JobsSettings
from jobs.store import ClaimRefusal, JobStore
from tests.faults.checker import keys_of
from tests.faults.history import Event, History


class WitnessStore(JobStore):
    """The job store as a worker uses it; each claim, and each last word with the answer to it, is noted."""

    history: History

    @classmethod
    def watched(cls, settings: JobsSettings, history: History) -> WitnessStore:
        store = cls.connect(settings)
        assert isinstance(store, WitnessStore)
        store.history = history
        return store

    def claim(self, job_id: JobId, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        return self._granted(super().claim(job_id, worker=worker, lease_s=lease_s))

    def claim_suspect(self, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        return self._granted(super().claim_suspect(worker=worker, lease_s=lease_s), alone=True)

    def commit(self, job_id: JobId, *, epoch: int, result: Result) -> Job:
        commit = super().commit
        return self._noted("commit", lambda: commit(job_id, epoch=epoch, result=result), job_id, epoch)

    def fail(self, job_id: JobId, *, epoch: int | None, failure: Failure) -> Job:
        fail = super().fail
        return self._noted("fail", lambda: fail(job_id, epoch=epoch, failure=failure), job_id, epoch)

    def canceled(self, job_id: JobId, *, epoch: int) -> Job:
        canceled = super().canceled
        return self._noted("canceled", lambda: canceled(job_id, epoch=epoch), job_id, epoch)

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: str | None = None) -> Job:
        release = super().release
        move = lambda: release(job_id, epoch=epoch, charge=charge, cause=cause)  # noqa: E731
        return self._noted("release", move, job_id, epoch, charge=charge)

    def _granted(self, job: Job | ClaimRefusal, *, alone: bool = False) -> Job | ClaimRefusal:
        if isinstance(job, Job):
            self.history.note(Event.CLAIMED, job.id, epoch=job.epoch, attempt=job.attempt, alone=alone)
        return job

    def _noted(self, move: str, call: Callable[[], Job], job_id: JobId, epoch: int | None, **facts: Any) -> Job:
        try:
            job = call()
        except (IllegalMove, JobNotFound):
            self.history.note(Event.REFUSED, job_id, move=move, epoch=epoch, **facts)
            raise
        self.history.note(Event.MOVED, job_id, move=move, epoch=epoch, **facts)
        return job


class WitnessBlobs:
    """The object storage; each object that was stored is noted."""

    def __init__(self, blobs: Any, history: History) -> None:
        self._blobs = blobs
        self._history = history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def put(self, ref: ObjectRef, data: bytes, **words: Any) -> object:
        info: object = self._blobs.put(ref, data, **words)
        self._history.note(Event.WROTE, key=ref.key)
        return info


def look(store: JobStore, history: History, ids: Sequence[JobId]) -> None:
    """Be a reader: note every terminal record among ``ids`` as it is seen now."""
    for job_id in ids:
        job = store.get(job_id)
        if job.completed_at is not None:
            history.note(Event.SEEN, job_id, state=job.state, keys=keys_of(job))
