"""Storage that is slow, down or full under a worker: no lease is lost, no attempt is charged, nothing is hammered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.model import Job, JobId
from jobs.retrying import RETRY_RESERVE, RETRY_SHARE
from jobs.settings import JobsSettings
from jobs.states import JobState
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.faults.http_proxy import HttpProxy, Spoil
from tests.fleet import Fleet, wait_for

#: What a busy machine takes to start a worker, at most.
START_S = 100.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEASE_S = 2.0
THREADS = 2


class Installation:
    """A worker whose line to the storage goes through a proxy, and a keeper; both live through all tests."""

    def __init__(self, folder: Path, redis: RedisServer, s3: S3Server, proxy: HttpProxy) -> None:
        self.proxy = proxy
        settings = JobsSettings(
            redis_url=redis.url,
            s3_endpoint_url=s3.endpoint_url,
            s3_region=s3.region,
            s3_access_key_id=s3.access_key,
            s3_secret_access_key=s3.secret_key,
            bucket="s3-outage",
            lease_s=LEASE_S,
            resend_after_s=1.0,
        )
        self.fleet = Fleet(settings, folder)
        self.fleet.blobs.ensure_bucket(settings.bucket)
        self.picture = self.fleet.upload()

    def start(self) -> None:
        self.fleet.keeper()
        (self.worker,) = self.fleet.start_workers("w", threads=THREADS, PHOTOMEND_S3_ENDPOINT_URL=self.proxy.url)
        wait_for(lambda: self.fleet.slots_of(self.worker), what="the worker is ready", within_s=START_S)

    def submit(self) -> JobId:
        return self.fleet.submit(self.picture)

    def logged(self, event: str) -> int:
        return self.fleet.log("w").count(f'"event": "{event}')

    def succeeded(self, job_id: JobId) -> Job:
        job = self.fleet.ended(job_id, within_s=50)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), "no attempt was charged"
        return job


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("outage")
    redis = RedisServer(folder / "redis")
    redis.start()
    with HttpProxy(s3_server.endpoint_url) as proxy:
        made = Installation(folder, redis, s3_server, proxy)
        try:
            made.start()
            yield made
        finally:
            made.fleet.close()
            redis.stop()


@pytest.fixture(autouse=True)
def _healed(installation: Installation) -> Iterator[None]:
    yield
    installation.proxy.heal()
    assert installation.worker.poll() is None


def test_storage_slower_than_the_lease_does_not_lose_it(installation: Installation) -> None:
    slow = [installation.proxy.add(Spoil(method=method, wait_s=2 * LEASE_S, times=1)) for method in ("GET", "PUT")]
    job = installation.succeeded(installation.submit())
    assert [spoil.struck for spoil in slow] == [1, 1]
    assert job.epoch == 1
    assert len(installation.fleet.history("began", job.id)) == 1


def test_an_outage_gives_jobs_back_uncharged_and_is_not_hammered(
    installation: Installation, record_property: Callable[[str, object], None]
) -> None:
    before = installation.logged("job goes back")
    down = installation.proxy.add(Spoil(status=503))
    job_ids = [installation.submit() for _ in range(6)]
    wait_for(lambda: installation.logged("no new jobs for a while") >= 3, what="the worker stands back")
    asked, given_back = down.struck, installation.logged("job goes back") - before
    record_property("requests", asked)
    record_property("job_starts", given_back)
    assert given_back >= 3, "the fault: jobs met it"
    # Those that are still at it have asked, too.
    assert asked <= (given_back + THREADS) * (1 + RETRY_SHARE) + RETRY_RESERVE
    assert {installation.fleet.store.get(job_id).attempt for job_id in job_ids} <= {0, 1}

    installation.proxy.heal()
    for job_id in job_ids:
        installation.succeeded(job_id)


def test_a_full_storage_gives_the_job_back_and_the_result_is_stored_when_there_is_room(
    installation: Installation,
) -> None:
    before = installation.logged("job goes back")
    full = installation.proxy.add(Spoil(method="PUT", status=507))
    job_id = installation.submit()
    wait_for(lambda: installation.logged("job goes back") > before, what="it is given back", within_s=50)
    assert full.struck, "the fault"
    installation.proxy.heal()
    job = installation.succeeded(job_id)
    assert job.epoch >= 2
    assert job.result is not None
    assert all(installation.fleet.blobs.head(a.ref).size == a.size for a in job.result.artifacts)


def test_an_input_that_is_garbled_for_good_fails_as_changed_and_one_that_is_cut_once_does_not(
    installation: Installation,
) -> None:
    proxy = installation.proxy
    cut = proxy.add(Spoil(method="GET", truncate_at=20, admits_length=True, times=1))
    installation.succeeded(installation.submit())
    assert cut.struck == 1

    garbled = proxy.add(Spoil(method="GET", flip_at=40))
    job = installation.fleet.ended(installation.submit())
    assert garbled.struck >= 2
    assert job.failure is not None
    assert job.failure.code == "input_changed"
