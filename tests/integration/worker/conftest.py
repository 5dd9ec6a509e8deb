"""One fleet per test, over our own Redis and S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.conftest import CALLBACK_SECRET
from tests.fleet import LEASE_S, Fleet


@pytest.fixture
def fleet(jobs_settings: JobsSettings, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(jobs_settings.model_copy(update={"lease_s": LEASE_S, "resend_after_s": 1.0}), tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def working_fleet(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A keeper and a worker of three threads that the tests of a module share, on a Redis of their own."""
    folder = tmp_path_factory.mktemp("fleet")
    redis = RedisServer(folder / "redis")
    redis.start()
    settings = JobsSettings(
        redis_url=redis.url,
        s3_endpoint_url=s3_server.endpoint_url,
        s3_region=s3_server.region,
        s3_access_key_id=s3_server.access_key,
        s3_secret_access_key=s3_server.secret_key,
        bucket=f"fleet-{folder.name.lower()}",
        callback_secret=CALLBACK_SECRET,
        lease_s=LEASE_S,
    )
    fleet = Fleet(settings, folder)
    fleet.blobs.ensure_bucket(settings.bucket)
    fleet.keeper()
    fleet.worker(threads=3, PHOTOMEND_MAX_UPLOAD_BYTES="100000", PHOTOMEND_MAX_PIXELS="100000")
    yield fleet
    fleet.close()
    redis.stop()
