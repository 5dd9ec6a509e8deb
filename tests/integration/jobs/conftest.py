"""A job store on the session's own Redis, emptied for each test, with short times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from jobs.model import Job
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore
from tests import samples

#: Long enough for a test's own steps on a busy machine.
LEASE_S = 30.0
#: Already over when the next call comes.
LAPSED_S = 1e-6
#: A lease that a sweep ends: much longer than a test's own steps, and Redis is up for longer when the tests begin.
SWEPT_LEASE_S = 3.0


@pytest.fixture
def make_store(redis_settings: JobsSettings) -> Iterator[Callable[..., JobStore]]:
    """Stores on the same Redis, with settings of the test's choice; closed afterwards."""
    made: list[JobStore] = []
    with redis.Redis.from_url(redis_settings.redis_url) as client:
        # A sweep ends no lease that is longer than Redis has been up.
        while client.info("server")["uptime_in_seconds"] < SWEPT_LEASE_S:
            time.sleep(0.05)

    def make(**settings: Any) -> JobStore:
        made.append(JobStore.connect(redis_settings.model_copy(update=settings)))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: Callable[..., JobStore]) -> JobStore:
    return make_store(resend_after_s=0.05)


@pytest.fixture
def in_state(store: JobStore) -> Callable[..., Job]:
    """Brings a new job into a state by legal moves only; epoch 1 has claimed it where a worker was needed."""

    def bring(state: JobState, **changes: Any) -> Job:
        job = store.submit(samples.job(**changes)).job
        if state is JobState.QUEUED:
            return job
        if state is JobState.CANCELED:
            return store.cancel(job.id, tenant=job.tenant)
        claimed = store.claim(job.id, worker="w1", lease_s=LEASE_S)
        assert isinstance(claimed, Job)
        if state is JobState.PROCESSING:
            return claimed
        if state is JobState.FAILED:
            return store.fail(job.id, epoch=1, failure=samples.FAILURE)
        done = store.commit(job.id, epoch=1, result=samples.result())
        if state is JobState.EXPIRED:
            expire(store, job)
            return store.get(job.id)
        return done

    return bring


def let_pass(store: JobStore, index: str, seconds: float) -> None:
    """Make so much time go by for everything in an index by time, however busy the machine: nobody sleeps."""
    key = f"{{photomend}}:{index}"
    members = store._redis.zrange(key, 0, -1)
    assert members, f"nothing waits in {index}"
    for member in members:
        store._redis.zincrby(key, -seconds, member)


def expire(store: JobStore, job: Job) -> None:
    """Make the job's results old, then sweep: expiry by its own path without waiting a week."""
    store._redis.zadd("{photomend}:expiry", {job.id: 1})
    assert store.sweep().expired == 1
