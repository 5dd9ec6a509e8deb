"""Fixtures for every tier: our own Redis and S3 servers on free ports, seeded generators, a clean environment."""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from photomend.stack.errors import ServerMissing
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests import logged, services

if TYPE_CHECKING:
    from jobs.settings import JobsSettings

#: Standard Webhooks' form: ``whsec_`` and base64 of 24 to 64 bytes.
CALLBACK_SECRET = "whsec_dGVzdHMtb25seS1ub3QtYS1yZWFsLXNlY3JldC0hIQ=="
SIGNING_SECRET = "tests only, not a secret of anybody's"
SEED = 20261107

logged.configure()
logged.plant(CALLBACK_SECRET)

# A developer's own settings and cloud credentials must not reach the tests.
for _name in [name for name in os.environ if name.startswith(("PHOTOMEND_", "AWS_"))]:
    del os.environ[_name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# Of several processes that test side by side, each computes on one core: threads that wait for each other's turn on a
# core spin, and take both.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is submitted or claimed without it, in this process or in others.
os.environ["PHOTOMEND_SIGNING_SECRET"] = SIGNING_SECRET


#: Cheap and telling first; a tier that is not named here comes last.
TIERS = ("unit", "contracts", "integration", "parity", "faults", "acceptance", "bench")
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tier by tier; within one, in the order of the files."""

    def tier(item: pytest.Item) -> int:
        first = item.path.relative_to(_TESTS).parts[0]
        return TIERS.index(first) if first in TIERS else len(TIERS)

    items.sort(key=tier)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random numbers; libraries that are not imported yet cost nothing."""
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


@pytest.fixture(autouse=True)
def _no_secret_is_logged() -> Iterator[None]:
    """Of everything that a test makes this process log."""
    yield
    assert logged.leaks() == []
    assert logged.is_watching(), "this test left logging as a command configured it"


Server = TypeVar("Server", RedisServer, S3Server)


def _running(server: Server) -> Iterator[Server]:
    """The server while it runs; one that is not installed skips at home and fails in CI."""
    try:
        server.start()
    except ServerMissing as err:
        services.missing(str(err))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis of our own for the session, append-only file on, as in operation."""
    yield from _running(RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of our own Redis, emptied."""
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server of our own for the session."""
    for running in _running(S3Server(tmp_path_factory.mktemp("s3"))):
        logged.plant(running.secret_key)
        yield running


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A fresh bucket of this test's own."""
    import boto3
    from botocore.config import Config

    name = f"test-{uuid.uuid4().hex[:16]}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name=s3_server.region,
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def redis_settings(redis_url: str) -> JobsSettings:
    """Settings for tests that need Redis and no storage."""
    from jobs.settings import JobsSettings

    return JobsSettings(redis_url=redis_url, callback_secret=CALLBACK_SECRET)


@pytest.fixture
def jobs_settings(redis_url: str, s3_server: S3Server, bucket: str) -> JobsSettings:
    """Settings for an empty Redis and a fresh bucket of this test's own."""
    from jobs.settings import JobsSettings

    return JobsSettings(
        redis_url=redis_url,
        s3_endpoint_url=s3_server.endpoint_url,
        s3_region=s3_server.region,
        s3_access_key_id=s3_server.access_key,
        s3_secret_access_key=s3_server.secret_key,
        bucket=bucket,
        callback_secret=CALLBACK_SECRET,
    )


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Where the development photos and weights lie; they are not part of the repository."""
    folder = os.environ.get("SHARED_DIR")
    if not folder:
        pytest.skip("SHARED_DIR is not set: no development photos or weights")
    return Path(folder).resolve()
