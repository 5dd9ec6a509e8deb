"""Redis killed under a running job, and back again: on the same port, with what its append-only file holds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import StoreUnavailable
from jobs.settings import JobsSettings
from jobs.states import JobState
from photomend.stack.redis import RedisServer
from tests.fleet import LEASE_S, Fleet, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shaky_fleet(redis: RedisServer, jobs_settings: JobsSettings, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on a Redis that only this test uses, so that it may be killed."""
    settings = jobs_settings.model_copy(update={"redis_url": redis.url, "lease_s": LEASE_S, "resend_after_s": 1.0})
    fleet = Fleet(settings, tmp_path)
    yield fleet
    fleet.close()


def send(redis: RedisServer, number: signal.Signals) -> None:
    assert redis.child is not None
    os.kill(redis.child.pid, number)


def test_an_outage_shorter_than_the_lease_does_not_cost_the_job_its_work(
    shaky_fleet: Fleet, redis: RedisServer
) -> None:
    """The job ends while Redis is away; its commit is repeated until Redis is back."""
    fleet = shaky_fleet
    fleet.keeper()
    worker = fleet.worker(PHOTOMEND_LEASE_S="20")
    job_id = fleet.submit(fleet.upload(), work_s=1.0)
    fleet.running(job_id)
    send(redis, signal.SIGKILL)
    with pytest.raises(StoreUnavailable):
        fleet.store.get(job_id)
    wait_for(lambda: fleet.history("ended", job_id), what="the work ends without Redis: the fault struck")
    again = RedisServer(redis.data_dir, redis.port)
    again.start()
    try:
        job = fleet.ended(job_id)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
        assert len(fleet.history("began", job_id)) == 1
        assert worker.poll() is None
        assert fleet.ended(fleet.submit(fleet.upload())).state is JobState.SUCCEEDED, "everyone came back"
    finally:
        fleet.close()
        again.stop()


def test_a_worker_cut_off_for_longer_than_its_lease_stops_by_itself_and_the_job_runs_again(
    shaky_fleet: Fleet, redis: RedisServer
) -> None:
    fleet = shaky_fleet
    fleet.keeper()
    fleet.worker()
    job_id = fleet.submit(fleet.upload(), work_s=8.0)
    fleet.running(job_id)
    # Stopped, not killed: connections stay open and nothing answers, as behind a dead switch.
    send(redis, signal.SIGSTOP)
    stopped_at = time.time()
    wait_for(lambda: '"lost"' in fleet.log("w"), what="the worker stops by itself: the fault struck")
    assert time.time() - stopped_at <= LEASE_S + 4.0, "by its lease, and the time that a busy machine takes"
    send(redis, signal.SIGCONT)

    job = fleet.ended(job_id, within_s=30)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert len(fleet.history("ended", job_id)) == 1
