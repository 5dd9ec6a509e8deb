"""Redis restarted, stalled, full or cut off under processes that work: jobs finish, nobody exits, nobody works twice.

One installation for the module, on a Redis of its own: a worker and a keeper that live through all of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import redis

from jobs.errors import StoreUnavailable
from jobs.model import JobId
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import Idempotency, JobStore
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests import samples
from tests.faults.proxy import HOLE, LOOPBACK, Proxy
from tests.fleet import Fleet, wait_for

#: What a busy machine takes to start a worker, at most.
START_S = 100.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

#: Longer than any stall that must not cost a job its lease, shorter than a test's patience.
LEASE_S = 6.0
#: From Redis' first answer after a restart to the first job that ends: the figure to keep.
RECOVERY_S = 5.0


class Installation:
    """A Redis that may be hurt, and the processes over it."""

    def __init__(self, folder: Path, s3: S3Server) -> None:
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        settings = JobsSettings(
            redis_url=self.redis.url,
            s3_endpoint_url=s3.endpoint_url,
            s3_region=s3.region,
            s3_access_key_id=s3.access_key,
            s3_secret_access_key=s3.secret_key,
            bucket="redis-faults",
            lease_s=LEASE_S,
            resend_after_s=1.0,
        )
        self.fleet = Fleet(settings, folder)
        self.fleet.blobs.ensure_bucket(settings.bucket)
        self.picture = self.fleet.upload()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.processes = [self.fleet.keeper(), started(self.fleet, "w", threads=3)]

    def close(self) -> None:
        self.fleet.close()
        self.redis.stop()

    def signal(self, number: signal.Signals) -> None:
        assert self.redis.child is not None
        os.kill(self.redis.child.pid, number)

    def start_again(self) -> None:
        """The same port and data, after a kill."""
        self.redis.stop()
        self.redis = RedisServer(self.redis.data_dir, self.redis.port)
        self.redis.start()

    def ask(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis.url, decode_responses=True)

    def submit(self, work_s: float) -> JobId:
        return self.fleet.submit(self.picture, work_s=work_s)

    def succeeded_once(self, *job_ids: JobId, attempt: int = 1) -> None:
        for job_id in job_ids:
            job = self.fleet.ended(job_id)
            assert (job.state, job.attempt, job.failure) == (JobState.SUCCEEDED, attempt, None)
            assert len(self.fleet.history("began", job_id)) == attempt, "no lease was taken away for nothing"

    def all_are_alive(self) -> None:
        assert [process.poll() for process in self.processes] == [None, None]


def started(fleet: Fleet, name: str, *, threads: int, **env: str) -> subprocess.Popen[bytes]:
    """A worker that is ready, however busy the machine is."""
    (process,) = fleet.start_workers(name, threads=threads, **env)
    wait_for(lambda: fleet.slots_of(process), what="the worker is ready", within_s=START_S)
    return process


@dataclass(frozen=True)
class Far:
    """A worker whose line to Redis can be spoilt."""

    line: Proxy
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("faults"), s3_server)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_restart_under_load_costs_no_job_its_work_and_little_time(
    installation: Installation, record_property: Callable[[str, object], None]
) -> None:
    fleet = installation.fleet
    job_ids = [installation.submit(work_s=0.5) for _ in range(12)]
    fleet.running(job_ids[0])
    installation.signal(signal.SIGKILL)
    with pytest.raises(StoreUnavailable):
        fleet.store.ping()
    time.sleep(1.0)
    installation.start_again()
    back_at = time.time()

    installation.succeeded_once(*job_ids)
    later = sorted(
        job.completed_at or 0.0 for job in map(fleet.store.get, job_ids) if (job.completed_at or 0) > back_at
    )
    assert later, "the fault: jobs were left to be done after the restart"
    began = sorted(note["at"] for note in fleet.history("began") if note["at"] > back_at)
    record_property("first_end_after_restart_s", round(later[0] - back_at, 2))
    record_property("first_start_after_restart_s", round(began[0] - back_at, 2))
    assert later[0] - back_at <= RECOVERY_S
    installation.all_are_alive()


def test_a_stall_shorter_than_the_lease_is_waited_out(installation: Installation) -> None:
    job_id = installation.submit(work_s=LEASE_S)
    installation.fleet.running(job_id)
    installation.signal(signal.SIGSTOP)
    with socket.create_connection((LOOPBACK, installation.redis.port), timeout=LEASE_S / 2) as line:
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):  # the fault: it accepts and says nothing
            line.recv(1)
    installation.signal(signal.SIGCONT)
    installation.succeeded_once(job_id)
    installation.all_are_alive()


def test_at_maxmemory_running_jobs_end_new_ones_are_refused_and_nobody_exits(installation: Installation) -> None:
    job_id = installation.submit(work_s=2.0)
    installation.fleet.running(job_id)
    with installation.ask() as server:
        server.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                installation.submit(work_s=0.1)
            installation.succeeded_once(job_id)
            installation.all_are_alive()
        finally:
            server.config_set("maxmemory", 0)
    installation.succeeded_once(installation.submit(work_s=0.1))


def test_when_redis_cannot_write_its_disk_jobs_wait_and_nobody_exits(installation: Installation) -> None:
    """MISCONF, as with a full disk: every write is refused, reads are answered."""
    in_the_way = installation.redis.data_dir / "dump.rdb"
    in_the_way.mkdir()  # a snapshot cannot take a folder's place
    job_id = installation.submit(work_s=1.0)
    installation.fleet.running(job_id)
    with installation.ask() as server:
        server.config_set("save", "3600 1")
        server.bgsave()
        wait_for(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", what="the snapshot fails")
        with pytest.raises(StoreUnavailable, match="MISCONF"):
            installation.submit(work_s=0.1)
        wait_for(lambda: installation.fleet.history("ended", job_id), what="the work ends all the same")
        assert installation.fleet.store.get(job_id).state is JobState.PROCESSING, "the fault: it could not be said"

        in_the_way.rmdir()
        server.bgsave()
        wait_for(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "ok", what="the disk is well again")
        server.config_set("save", "")
    installation.succeeded_once(job_id, installation.submit(work_s=0.1))
    installation.all_are_alive()


@pytest.fixture(scope="module")
def far(installation: Installation) -> Iterator[Far]:
    with Proxy(installation.redis.port) as line:
        url = f"redis://{LOOPBACK}:{line.port}/0"
        yield Far(line, started(installation.fleet, "far", threads=1, PHOTOMEND_REDIS_URL=url))


def test_a_worker_cut_off_from_redis_alone_stops_before_another_begins_its_job(
    installation: Installation, far: Far, record_property: Callable[[str, object], None]
) -> None:
    """The line between one worker and Redis is dead; S3, the keeper and the other worker see nothing of it."""
    fleet = installation.fleet
    # As many as there are threads, so that each worker is full; then the other one gets room for this one's job.
    runs_at = {job_id: fleet.running(job_id)["pid"] for job_id in [installation.submit(work_s=7.0) for _ in range(4)]}
    (job_id,) = [job_id for job_id, pid in runs_at.items() if pid == far.process.pid]
    for other in runs_at.keys() - {job_id}:
        fleet.store.cancel(other)
    far.line.partition()
    cut_at = time.time()
    wait_for(lambda: far.line.struck["swallowed"], what="beats are lost: the fault struck")
    wait_for(lambda: len(fleet.history("began", job_id)) == 2, what="another begins the job")
    first, second = fleet.history("began", job_id)
    assert second["pid"] != far.process.pid
    stopped_at = wait_for(lambda: said_at(fleet, "far", "job stopped"), what="the cut-off one stops")
    record_property("stopped_after_s", round(stopped_at - cut_at, 2))
    record_property("taken_over_after_s", round(second["at"] - cut_at, 2))
    assert first["at"] < cut_at < stopped_at < second["at"]
    assert stopped_at - cut_at <= LEASE_S

    far.line.heal()
    job = fleet.ended(job_id, within_s=30)
    assert (job.state, job.attempt, len(fleet.history("ended", job_id))) == (JobState.SUCCEEDED, 2, 1)
    wait_for(lambda: fleet.slots_of(far.process), what="it comes back by itself")
    assert far.process.poll() is None


def test_messages_that_are_popped_and_never_arrive_are_sent_again(installation: Installation, far: Far) -> None:
    """Celery takes a message off its queue before anybody has it: what loses jobs where the message is the job."""
    lost_before = far.line.struck["swallowed"]
    far.line.spoil(down=HOLE)  # its requests arrive, the answers do not
    job_ids = [installation.submit(work_s=0.1) for _ in range(8)]
    wait_for(lambda: far.line.struck["swallowed"] > lost_before, what="answers are lost: the fault struck")
    installation.succeeded_once(*job_ids)
    far.line.heal()
    wait_for(lambda: installation.fleet.slots_of(far.process), what="the far one comes back by itself")


def test_a_submit_whose_answer_was_lost_is_the_same_job_at_the_second_try(installation: Installation) -> None:
    key = Idempotency(key="one order", fingerprint="f")
    with Proxy(installation.redis.port) as line:
        url = f"redis://{LOOPBACK}:{line.port}/0"
        store = JobStore.connect(installation.fleet.settings.model_copy(update={"redis_url": url}))
        store.submit(samples.job(input=installation.picture))  # the script is there, the next call is the submit
        line.spoil(down=HOLE)
        first = samples.job(input=installation.picture)
        with pytest.raises(StoreUnavailable):
            store.submit(first, idempotency=key)
        assert line.struck["swallowed"], "the fault: Redis has it, and we do not know"
        assert installation.fleet.store.get(first.id).id == first.id
        line.heal()
        again = store.submit(samples.job(input=installation.picture), idempotency=key)
        assert (again.job.id, again.replayed) == (first.id, True)
        store.close()
    installation.succeeded_once(first.id)


def said_at(fleet: Fleet, name: str, event: str) -> float | None:
    """When a process logged it first."""
    for text in fleet.log(name).splitlines():
        if text.startswith("{") and (line := json.loads(text))["event"] == event:
            return datetime.fromisoformat(line["at"]).timestamp()
    return None


#: Keys that take some seconds to load with a pause after each; a client is heard after every 1024.
FILLERS = 50_000


class SlowLoading(RedisServer):
    """Reads its append-only file slowly, as if it were large."""

    def _command(self, binary: str) -> list[str]:
        return [*super()._command(binary), "--key-load-delay", "1"]


def test_while_redis_loads_its_data_it_counts_as_unavailable_and_then_all_is_there(tmp_path: Path) -> None:
    first = RedisServer(tmp_path)
    first.start()
    with redis.Redis.from_url(first.url) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(FILLERS):
            pipeline.set(f"filler:{number}", "x")
        pipeline.execute()
    first.stop()
    again = SlowLoading(tmp_path, first.port)
    starting = threading.Thread(target=again.start)
    starting.start()
    store, heard = JobStore.connect(JobsSettings(redis_url=first.url)), set()
    while starting.is_alive():
        try:
            store.ping()
        except StoreUnavailable as err:
            heard.add("loading" if "loading" in str(err).lower() else "silent")
        time.sleep(0.01)
    starting.join()
    assert "loading" in heard, "the fault: it said so"
    store.ping()
    with redis.Redis.from_url(first.url) as client:
        assert client.dbsize() == FILLERS
    store.close()
    again.stop()
