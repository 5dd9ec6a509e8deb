"""The primary dies and its replica takes over: whatever was accepted is there, and without WAIT it would not be."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis

from api.settings import ApiSettings
from jobs.admission import Admission
from jobs.blobs import BlobStore
from jobs.errors import JobNotFound, StoreUnavailable
from jobs.model import Job, JobId
from jobs.settings import JobsSettings
from jobs.store import Idempotency, JobStore
from photomend.stack.redis import RedisServer
from tests import samples
from tests.faults.proxy import LOOPBACK, Proxy
from tests.fleet import wait_for
from tests.integration.api.conftest import NO_STORAGE, Service, problem

#: Submits before and after the line between the servers is cut.
JOBS = 20


@dataclass
class Pair:
    """A primary, and a replica that follows it over a line which can be cut."""

    primary: RedisServer
    replica: RedisServer
    line: Proxy

    def settings(self, **more: object) -> JobsSettings:
        return JobsSettings(redis_url=self.primary.url, redis_min_replicas=1).model_copy(update=more)

    def fail_over(self) -> JobsSettings:
        """Kill the primary; where its successor is."""
        assert self.primary.child is not None
        os.kill(self.primary.child.pid, signal.SIGKILL)
        wait_for(lambda: not self.primary.child or not self.primary.child.is_running, what="the primary is dead")
        with redis.Redis.from_url(self.replica.url) as successor:
            successor.replicaof("NO", "ONE")
        return self.settings(redis_url=self.replica.url, redis_min_replicas=0)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    primary, replica = RedisServer(tmp_path / "primary"), RedisServer(tmp_path / "replica")
    primary.start()
    replica.start()
    with Proxy(primary.port) as line:
        with redis.Redis.from_url(primary.url) as client:
            client.config_set("repl-diskless-sync-delay", 0)
        with redis.Redis.from_url(replica.url, decode_responses=True) as follower:
            follower.replicaof(LOOPBACK, line.port)
            wait_for(lambda: follower.info("replication")["master_link_status"] == "up", what="the replica follows")
        yield Pair(primary, replica, line)
    replica.stop()
    primary.stop()


def submit_all(store: JobStore) -> tuple[list[JobId], list[Job]]:
    """What was accepted, and what was refused."""
    accepted, refused = [], []
    for _ in range(JOBS):
        job = samples.job()
        try:
            accepted.append(store.submit(job, idempotency=Idempotency(key=job.id, fingerprint="f")).job.id)
        except StoreUnavailable:
            refused.append(job)
    return accepted, refused


def lost(settings: JobsSettings, accepted: list[JobId]) -> int:
    store = JobStore.connect(settings)
    count = 0
    for job_id in accepted:
        try:
            store.get(job_id)
        except JobNotFound:
            count += 1
    store.close()
    return count


def test_every_accepted_job_outlives_the_primary_and_refused_ones_are_accepted_at_the_second_try(pair: Pair) -> None:
    store = JobStore.connect(pair.settings())
    accepted, refused = submit_all(store)
    assert (len(accepted), refused) == (JOBS, []), "all is well"
    pair.line.partition()
    later, refused = submit_all(store)
    store.close()
    assert pair.line.struck["swallowed"], "the fault: the replica hears nothing"
    assert (later, len(refused)) == ([], JOBS), "nothing is promised that one server alone has"

    settings = pair.fail_over()
    assert lost(settings, accepted) == 0
    successor = JobStore.connect(settings)
    for job in refused:
        submitted = successor.submit(job, idempotency=Idempotency(key=job.id, fingerprint="f"))
        assert (submitted.job.id, submitted.replayed) == (job.id, False)
    successor.close()


def test_without_waiting_for_the_replica_accepted_jobs_are_lost(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same fault, and nothing but WAIT left out."""
    monkeypatch.setattr(Admission, "_connected_replicas", lambda _: 0)
    store = JobStore.connect(pair.settings(redis_min_replicas=0))
    pair.line.partition()
    accepted, refused = submit_all(store)
    store.close()
    assert refused == []
    assert lost(pair.fail_over(), accepted) == JOBS


def test_the_api_says_503_while_the_replica_is_cut_off_and_202_when_it_is_back(pair: Pair) -> None:
    settings = pair.settings(s3_endpoint_url=NO_STORAGE).model_dump()
    service = Service(ApiSettings(**settings), blobs=BlobStore.connect(JobsSettings(s3_endpoint_url=NO_STORAGE)))

    def post(key: str) -> httpx.Response:
        words = {"json": {"input": "s3://photos/a.jpg"}, "headers": {"Idempotency-Key": key}}
        return service.call("POST", "/v1/jobs", **words)

    assert post("first").status_code == 202
    pair.line.partition()
    answer = post("second")
    problem(answer, 503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    pair.line.heal()
    wait_for(lambda: post("second").status_code == 202, what="the same request is accepted")
    service.store.close()
