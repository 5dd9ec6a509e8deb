"""Names, and repairs, whatever does not fit together in the store.

The scripts keep these invariants by themselves; the doctor is for what they cannot foresee: a Redis restored from an
old copy, a hand that edited keys, a bug. Each job is looked at, and mended, in one Lua call, so it may run at any time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import ResponseError

from jobs import durability
from jobs.connection import PREFIX, Scripts, translated
from jobs.model import JobId, Priority

#: Names of indices whose members are job ids.
_INDICES = ("index:", "backlog:", "sent:", "leases", "deadlines", "expiry", "retire", "dead")
_LANES = tuple(str(priority) for priority in Priority)
#: Keys, and members of one index, looked at in one round trip.
_BATCH = 200

#: Indices by time of what a keeper has to do, and what it means when it is not done.
_DUTIES = {
    "outbox": "callback is due",
    "leases": "lease has lapsed",
    "deadlines": "deadline has passed",
    "expiry": "results have been due to expire",
    "uploads": "upload has been due to expire",
    "trash": "objects have been due for deletion",
} | {f"sent:{lane}": "sent and unclaimed" for lane in _LANES}
#: Longer than any keeper's round, and than the wait before a job is sent again.
GRACE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that does not fit."""

    subject: str  #: the id of a job, upload or delivery, or the name of a worker
    problem: str  #: for an operator


class Doctor:
    """Looks through the whole store; time and traffic grow with the number of records."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts = Scripts(client)

    def examine(self, *, repair: bool = False) -> Iterator[Violation]:
        """Every violation; with ``repair`` it has been mended when it comes.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        indices: list[str] = []
        ids: list[JobId] = []
        workers: set[str] = set()
        for key in self._keys():
            name = key.removeprefix(PREFIX)
            if name.startswith("job:"):
                ids.append(JobId(name.removeprefix("job:")))
            elif name.startswith(_INDICES):
                indices.append(key)
            elif name.startswith("held:"):
                workers.add(name.removeprefix("held:"))
            if len(ids) == _BATCH:
                yield from self.examine_jobs(ids, repair=repair)
                ids = []
        yield from self.examine_jobs(ids, repair=repair)
        for key in indices:
            yield from self._examine_index(key, repair=repair)
        with translated():
            workers |= {worker for worker, _ in self._redis.zscan_iter(f"{PREFIX}secluded", count=_BATCH)}
        yield from self.examine_workers(workers, repair=repair)

    def examine_jobs(self, ids: Sequence[JobId], *, repair: bool = False) -> Iterator[Violation]:
        """The same for these jobs only.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        if ids:
            args = [int(repair), ",".join(_LANES), *ids]
            flat = self._scripts.call("mend", keys=[f"{PREFIX}leases"], args=args)
            for job_id, problem in zip(flat[::2], flat[1::2], strict=True):
                yield Violation(subject=job_id, problem=problem)

    def examine_workers(self, workers: Set[str], *, repair: bool = False) -> Iterator[Violation]:
        """What is said of these workers: which jobs they hold, and whether they are kept for a suspect.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        args = [int(repair), *sorted(workers)]
        flat = self._scripts.call("hands", keys=[f"{PREFIX}secluded"], args=args)
        for subject, problem in zip(flat[::2], flat[1::2], strict=True):
            yield Violation(subject=subject, problem=problem)

    def server(self) -> tuple[str, float]:
        """What serves us, such as ``valkey 8.1.4``, and how far its clock is ahead of this machine's (seconds).

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            info: Any = self._redis.info("server")
            seconds, microseconds = self._redis.time()
        name = str(info.get("server_name", "redis"))
        version = info.get(f"{name}_version", info.get("redis_version", ""))
        return f"{name} {version}", seconds + microseconds / 1e6 - time.time()

    def faults_of_redis(self, *, min_replicas: int) -> tuple[str, ...]:
        """What about the server's settings or state may lose or refuse jobs; there is nothing that we could mend.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        info, config = self._told_by_redis()
        return durability.faults(info, config, min_replicas=min_replicas)

    def losses_of_redis(self, *, may_forget: bool) -> tuple[str, ...]:
        """Of these what loses accepted jobs.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return durability.losses(*self._told_by_redis(), may_forget=may_forget)

    def _told_by_redis(self) -> tuple[dict[str, Any], dict[str, Any]]:
        with translated():
            info: Any = self._redis.info()
            try:
                config: Any = self._redis.config_get("appendfsync")
            except ResponseError:
                config = {}  # closed to us, by an ACL or by a managed service
        return info, config

    def overdue(self, *, grace_s: float = GRACE_S, limit: int = 100) -> tuple[Violation, ...]:
        """What a keeper should have dealt with: a sign that none is at work. There is nothing to mend.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        args = [grace_s, limit, *_DUTIES]
        flat = self._scripts.call("overdue", keys=[f"{PREFIX}leases"], args=args)
        late = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return tuple(
            Violation(subject=member, problem=f"{_DUTIES[name]} for {seconds} s") for name, member, seconds in late
        )

    def _examine_index(self, key: str, *, repair: bool) -> Iterator[Violation]:
        with translated():
            members = [member for member, _ in self._redis.zscan_iter(key, count=_BATCH)]
        for start in range(0, len(members), _BATCH):
            args = [int(repair), *members[start : start + _BATCH]]
            for job_id in self._scripts.call("drop", keys=[key], args=args):
                yield Violation(subject=job_id, problem=f"entry in {key.removeprefix(PREFIX)} without a record")

    def _keys(self) -> Iterator[str]:
        with translated():
            keys: Any = self._redis.scan_iter(match=f"{PREFIX}*", count=_BATCH)
            yield from keys
