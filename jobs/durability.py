"""Whether Redis is set, and fares, so that an accepted job stays accepted: what INFO and CONFIG say, judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Share of maxmemory above which somebody should act: running jobs need room for their ends.
FULL_AT = 0.7


def faults(info: Mapping[str, Any], config: Mapping[str, Any], *, min_replicas: int) -> tuple[str, ...]:
    """A sentence for the operator on each setting, or state, that may lose or refuse jobs.

    ``config`` may be empty: many managed services close CONFIG, and what matters most is in INFO as well.
    """
    return (*_of_memory(info), *_of_disk(info, config), *_of_replicas(info, min_replicas))


def losses(info: Mapping[str, Any], config: Mapping[str, Any], *, may_forget: bool) -> tuple[str, ...]:
    """Of these the settings that lose accepted jobs: by eviction, and unless it may forget them, by a restart."""
    return (*_of_eviction(info), *(() if may_forget else _of_persistence(info, config)))


def _of_memory(info: Mapping[str, Any]) -> list[str]:
    found = _of_eviction(info)
    limit, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    if limit and used > FULL_AT * limit:
        found.append(f"{used / limit:.0%} of maxmemory are used: at 100 % new jobs are refused")
    return found


def _of_eviction(info: Mapping[str, Any]) -> list[str]:
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        return []
    return [f"maxmemory-policy is {policy}: at maxmemory it drops accepted jobs; set noeviction"]


def _of_persistence(info: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    found = []
    if not info.get("aof_enabled"):
        found.append("the append-only file is off: a restart loses accepted jobs; set appendonly yes")
    if config.get("appendfsync") == "no":
        found.append("appendfsync is no: a power failure loses many seconds of accepted jobs; set everysec or always")
    return found


def _of_disk(info: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    found = _of_persistence(info, config)
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            found.append(f"the last write of its {what} failed, so it may refuse all writes: is its disk full?")
    return found


def _of_replicas(info: Mapping[str, Any], min_replicas: int) -> list[str]:
    if info.get("role") != "master":
        return ["it is a replica, which takes no jobs: PHOTOMEND_REDIS_URL must name the primary"]
    connected = info.get("connected_slaves", 0)
    if connected < min_replicas:
        return [f"{connected} of {min_replicas} replicas are connected: no job is accepted"]
    return []
