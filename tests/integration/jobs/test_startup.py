"""No process of the service starts over a Redis that would lose accepted jobs; one that is down is no reason."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobs.errors import NotSetUp, StoreUnavailable
from jobs.settings import JobsSettings
from jobs.startup import require_safe
from jobs.store import JobStore
from photomend.stack.ports import free_ports
from tests.fleet import environment

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes"}


@pytest.fixture
def unsafe(store: JobStore, request: pytest.FixtureRequest) -> Iterator[None]:
    """The server with these settings, for this test."""
    for name, value in request.param.items():
        store._redis.config_set(name, value)
    yield
    for name, value in SAFE.items():
        store._redis.config_set(name, value)


@pytest.mark.parametrize("unsafe", [{"maxmemory-policy": "allkeys-lru"}], indirect=True)
@pytest.mark.parametrize("command", ["api", "keeper", "worker"])
@pytest.mark.usefixtures("unsafe")
def test_eviction_starts_nothing(redis_settings: JobsSettings, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "photomend", command],
        env=environment(redis_settings) | {"PHOTOMEND_ALLOW_VOLATILE_REDIS": "1"},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "maxmemory-policy is allkeys-lru" in done.stderr
    assert "deploy/redis.conf" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unsafe", [{"appendonly": "no"}], indirect=True)
@pytest.mark.usefixtures("unsafe")
def test_a_redis_that_forgets_is_taken_only_where_allowed(store: JobStore, redis_settings: JobsSettings) -> None:
    with pytest.raises(NotSetUp, match="PHOTOMEND_ALLOW_VOLATILE_REDIS"):
        require_safe(store, redis_settings)
    require_safe(store, redis_settings.model_copy(update={"allow_volatile_redis": True}))


def test_a_redis_that_is_down_is_waited_for() -> None:
    settings = JobsSettings(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    store = JobStore.connect(settings)
    require_safe(store, settings)
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.close()
