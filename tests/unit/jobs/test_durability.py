"""Settings and states of Redis that may lose or refuse jobs, each named with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.durability import faults

WELL: dict[str, Any] = {
    "maxmemory_policy": "noeviction",
    "maxmemory": 1000,
    "used_memory": 100,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "role": "master",
    "connected_slaves": 1,
}


@pytest.mark.parametrize("config", [{"appendfsync": "everysec"}, {"appendfsync": "always"}, {}])
def test_a_server_that_is_set_as_redis_conf_says_has_no_faults(config: dict[str, str]) -> None:
    assert faults(WELL, config, min_replicas=1) == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"used_memory": 900}, "90%"),
        ({"aof_enabled": 0}, "append-only file is off"),
        ({"aof_last_write_status": "err"}, "disk full"),
        ({"rdb_last_bgsave_status": "err"}, "disk full"),
        ({"role": "slave"}, "replica"),
        ({"connected_slaves": 0}, "0 of 1 replicas"),
    ],
)
def test_each_fault_is_named(change: dict[str, Any], word: str) -> None:
    (fault,) = faults(WELL | change, {}, min_replicas=1)
    assert word in fault


def test_an_append_only_file_that_is_never_flushed_is_a_fault() -> None:
    (fault,) = faults(WELL, {"appendfsync": "no"}, min_replicas=0)
    assert "appendfsync" in fault


def test_without_a_limit_memory_is_never_full() -> None:
    assert faults(WELL | {"maxmemory": 0, "used_memory": 10**9}, {}, min_replicas=0) == ()
