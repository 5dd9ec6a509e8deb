"""Redis out of memory, read-only, restarted, gone, or without its replica: typed errors, and nothing half done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.errors import StoreUnavailable
from jobs.model import Job, Priority
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import Idempotency, JobStore, Slots
from photomend.stack.ports import free_ports
from photomend.stack.redis import RedisServer
from tests import samples
from tests.integration.jobs.conftest import LEASE_S

KEY = Idempotency(key="k", fingerprint="f")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def full_redis(store: JobStore) -> Iterator[Callable[[], None]]:
    """Calling it makes the session's Redis refuse what needs memory, until the test ends."""
    yield lambda: store._redis.config_set("maxmemory", 1) and None
    store._redis.config_set("maxmemory", 0)


def test_at_maxmemory_new_jobs_are_refused_and_running_ones_can_finish(
    store: JobStore, full_redis: Callable[[], None]
) -> None:
    jobs = [store.submit(samples.job(callback=samples.CALLBACK)).job for _ in range(6)]
    for job in jobs[:5]:
        assert isinstance(store.claim(job.id, worker="w", lease_s=LEASE_S), Job)
    store.beat(jobs[4].id, epoch=1, lease_s=1e-6)
    full_redis()
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        store.submit(samples.job(), idempotency=KEY)
    assert store.commit(jobs[0].id, epoch=1, result=samples.result()).state is JobState.SUCCEEDED
    assert store.fail(jobs[1].id, epoch=1, failure=samples.FAILURE).state is JobState.FAILED
    assert store.release(jobs[2].id, epoch=1, charge=True).state is JobState.QUEUED
    store.cancel(jobs[3].id, tenant=jobs[3].tenant)
    assert store.canceled(jobs[3].id, epoch=1).state is JobState.CANCELED
    assert store.sweep().requeued == 1
    assert store.cancel(jobs[5].id, tenant=jobs[5].tenant).state is JobState.CANCELED
    assert store.counts()["outbox"] == 5 + 4, "five starts and four ends, none lost"
    store._redis.config_set("maxmemory", 0)
    assert not store.submit(samples.job(), idempotency=KEY).replayed, "the refused submit left nothing behind"


def test_at_maxmemory_jobs_are_still_taken_claimed_and_renewed(store: JobStore, full_redis: Callable[[], None]) -> None:
    job = store.submit(samples.job()).job
    full_redis()
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (job.id,)
    assert isinstance(store.claim(job.id, worker="w", lease_s=LEASE_S), Job)
    assert store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=None) == "ok"
    store.publish_slots(Slots(worker="w", queues=(), free=1, total=1))
    assert len(store.slots()) == 1


def test_a_store_that_is_gone_or_was_never_there_says_so(own_redis: RedisServer) -> None:
    store = JobStore.connect(JobsSettings(redis_url=own_redis.url))
    job = store.submit(samples.job()).job
    own_redis.stop()
    for call in (
        store.ping,
        store.counts,
        lambda: store.get(job.id),
        lambda: store.submit(samples.job()),
        lambda: store.claim(job.id, worker="w", lease_s=1),
        lambda: store.list(job.tenant),
        lambda: store.lock("x", ttl_s=1),
        lambda: store.get_upload("upl_0", tenant=job.tenant),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    store.close()


def test_after_a_restart_scripts_are_loaded_anew_and_leases_get_their_length_again(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    server = RedisServer(tmp_path, port)
    server.start()
    store = JobStore.connect(JobsSettings(redis_url=server.url))
    try:
        job, short = (store.submit(samples.job()).job for _ in range(2))
        store.claim(job.id, worker="w", lease_s=1e6)
        store.claim(short.id, worker="w", lease_s=1e-6)
        # A lease that ended while Redis was away.
        store._redis.zadd("{photomend}:leases", {job.id: 1})
        server.stop()
        server = RedisServer(tmp_path, port)
        server.start()
        requeued = 0
        while not requeued:  # Redis counts its uptime in whole seconds
            requeued = store.sweep().requeued
        assert requeued == 1, "only the one whose length has passed since the restart"
        assert store.commit(job.id, epoch=1, result=samples.result()).state is JobState.SUCCEEDED
        assert store.get(short.id).state is JobState.QUEUED
    finally:
        store.close()
        server.stop()


def test_a_read_only_replica_refuses_submits_as_unavailable(own_redis: RedisServer, tmp_path: Path) -> None:
    store = JobStore.connect(JobsSettings(redis_url=own_redis.url))
    store._redis.replicaof("127.0.0.1", free_ports(1)[0])
    with pytest.raises(StoreUnavailable):
        store.submit(samples.job())
    store.close()


def test_without_enough_replicas_writes_are_unavailable(own_redis: RedisServer) -> None:
    store = JobStore.connect(JobsSettings(redis_url=own_redis.url))
    store._redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(StoreUnavailable, match="replicas"):
        store.submit(samples.job())
    store.close()


def test_a_submit_is_accepted_only_when_a_connected_replica_has_it(own_redis: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(tmp_path / "replica")
    replica.start()
    store = JobStore.connect(JobsSettings(redis_url=own_redis.url))
    follower = redis.Redis.from_url(replica.url, decode_responses=True)
    try:
        store._redis.config_set("repl-diskless-sync-delay", 0)
        follower.replicaof("127.0.0.1", own_redis.port)
        while follower.info("replication")["master_link_status"] != "up":
            pass
        job = store.submit(samples.job()).job
        assert follower.hget(f"{{photomend}}:job:{job.id}", "state") == "queued"

        # The replica stops acknowledging while its link still counts as up: exactly what loses acknowledged writes.
        replica_pid = int(follower.info("server")["process_id"])
        _signal(replica_pid, "STOP")
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.submit(samples.job(), idempotency=KEY)
        # A replay is no more durable than the first try, also on a connection that has written nothing yet.
        other = JobStore.connect(JobsSettings(redis_url=own_redis.url))
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            other.submit(samples.job(), idempotency=KEY)
        other.close()
        _signal(replica_pid, "CONT")
        assert store.submit(samples.job(), idempotency=KEY).replayed
    finally:
        follower.close()
        store.close()
        replica.stop()


def test_replicas_that_must_be_there_are_missed(own_redis: RedisServer) -> None:
    store = JobStore.connect(JobsSettings(redis_url=own_redis.url, redis_min_replicas=1))
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        store.submit(samples.job())
    store.close()


def _signal(pid: int, name: str) -> None:
    import os
    import signal

    os.kill(pid, signal.Signals[f"SIG{name}"])


def test_scripts_that_vanish_again_and_again_under_many_threads_are_never_an_error_of_ours(store: JobStore) -> None:
    """As when Redis restarts under a worker full of jobs."""
    job = store.submit(samples.job()).job
    stop, wrong = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                store.beat(job.id, epoch=1, lease_s=LEASE_S)
            except StoreUnavailable:
                pass  # gone between its loading and its call
            except Exception as error:  # noqa: BLE001 - any other is what this test looks for
                wrong.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        store._redis.script_flush()
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
