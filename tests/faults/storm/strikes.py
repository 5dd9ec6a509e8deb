"""The faults. Each strikes once, heals what it broke, and proves that it struck; else it does not count."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.states import TERMINAL
from tests.faults.history import Event
from tests.faults.pictures import POISONS, Does
from tests.faults.proxy import HOLE, Way
from tests.faults.storm.field import KEEPERS, LEASE_S, NODES, PATIENCE_S, READY_S, Field, until
from tests.faults.storm.traffic import Traffic
from tests.faults.storm.watch import is_alive, kill

#: How long something to strike at is waited for (seconds).
AIM_S = 4.0

Facts = dict[str, Any]


class Strikes:
    """One method for each kind; each gives the facts of a strike, or None where it hit nothing."""

    def __init__(self, field: Field, traffic: Traffic, rng: random.Random) -> None:
        self._field = field
        self._traffic = traffic
        self._rng = rng
        kinds: dict[str, Callable[[], Facts | None]] = {
            "kill-process": self._kill_process,
            "kill-node": self._kill_node,
            "zombie": self._zombie,
            "drain": self._drain,
            "kill-keeper": self._kill_keeper,
            "redis-kill": self._redis_kill,
            "redis-stall": self._redis_stall,
            "partition": self._partition,
            "cut": self._cut,
            "s3-errors": self._s3_errors,
            "s3-slow": self._s3_slow,
            "s3-hole": self._s3_hole,
            "messages-lost": self._messages_lost,
            "messages-doubled": self._messages_doubled,
            "messages-forged": self._messages_forged,
            "cancel": self._cancel,
            "receiver-down": self._receiver_down,
            **{f"poison-{does}": partial(self._poison, does) for does in POISONS},
        }
        self.kinds = {name: strike for name, strike in kinds.items() if name not in field.spares}

    def strike(self, kind: str) -> bool:
        """Whether it struck; noted in the history either way."""
        began = time.monotonic()
        try:
            facts = self.kinds[kind]()
        finally:
            self._field.heal()
        struck = facts is not None and not facts.get("missed")
        event = Event.STRUCK if struck else Event.MISSED
        self._field.history.note(event, None, **({"kind": kind, "struck_at": began} | (facts or {})))
        return struck

    # -- processes

    def _kill_process(self) -> Facts | None:
        aim = self._aim()
        if aim is None:
            return None
        pid, jobs = aim
        at = time.monotonic()
        if not kill(pid, signal.SIGKILL) or not until(lambda: not is_alive(pid)):
            return None
        self._let_recover(jobs, at)
        return {"pids": [pid], "jobs": jobs, "struck_at": at}

    def _kill_node(self) -> Facts | None:
        """The machine is gone: nobody is there to read how its processes ended."""
        aim = self._aim()
        node = aim and self._field.node_of(aim[0])
        if node is None:
            return None
        pids = self._field.pids_of(node)
        jobs = [job for pid, held in self._field.watch.busy().items() if pid in pids for job in held]
        at = time.monotonic()
        status = self._field.kill(node)
        for pid in pids:
            kill(pid, signal.SIGKILL)
        until(lambda: not any(map(is_alive, pids)))
        self._pause(0.2, 1.0)
        self._field.start_node(node)
        self._let_recover(jobs, at)
        struck = status == -signal.SIGKILL and pids and jobs
        return {"pids": pids, "jobs": jobs, "struck_at": at} if struck else None

    def _zombie(self) -> Facts | None:
        """It sleeps until another has taken one of its jobs, and then goes on."""
        aim = self._aim()
        if aim is None:
            return None
        pid, jobs = aim
        kill(pid, signal.SIGSTOP)
        held = self._field.watch.busy().get(pid, {})
        epochs = {job: epoch for job, epoch in held.items() if job in jobs}

        def taken() -> bool:
            return any(self._field.watch.epoch(job) > epoch for job, epoch in epochs.items())

        struck = bool(epochs) and until(taken, self._field.takeover_s + PATIENCE_S)
        kill(pid, signal.SIGCONT)
        # Whoever slept so long lost its leases, also where nobody was free to take its jobs.
        return {"pids": [pid], "jobs": list(epochs), "missed": not struck}

    def _drain(self) -> Facts | None:
        """At any instant, busy or not."""
        pids: list[int] = []

        def found() -> bool:
            # Those that start right now have nothing to leave.
            pids[:] = sorted(set(self._field.all_pids()) & set(self._field.ready_pids()))
            return bool(pids)

        if not until(found, READY_S):
            return None
        pid = self._rng.choice(pids)
        at = time.monotonic()
        jobs = list(self._field.watch.busy().get(pid, {}))
        return {"pids": [pid], "jobs": jobs, "struck_at": at} if self._field.drain(pid) else None

    def _kill_keeper(self) -> Facts | None:
        name = self._rng.choice(KEEPERS)
        status = self._field.kill(name)
        self._pause(0.2, 1.0)
        self._field.start_keeper(name)
        return {"name": name} if status == -signal.SIGKILL else None

    # -- Redis

    def _redis_kill(self) -> Facts | None:
        pids = self._field.all_pids()
        at = time.monotonic()
        self._field.kill_redis()
        struck = not self._field.answers()
        self._pause(0.0, 0.8)
        back_at = self._field.restart_redis()
        until(lambda: self._field.watch.last_commit() > back_at, PATIENCE_S + LEASE_S)
        return {"pids": pids, "struck_at": at, "back_at": back_at} if struck else None

    def _redis_stall(self) -> Facts | None:
        child = self._field.redis.child
        assert child is not None
        pids = self._field.all_pids()
        kill(child.pid, signal.SIGSTOP)
        with redis.Redis(port=self._field.redis.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as client:
            try:
                client.ping()
                struck = False
            except redis.RedisError:
                struck = True
        self._pause(0.3, LEASE_S + 1.0)
        kill(child.pid, signal.SIGCONT)
        return {"pids": pids} if struck else None

    def _partition(self) -> Facts | None:
        """A node cut off from Redis for longer than its leases; its storage stays within reach."""
        aim = self._aim()
        node = aim and self._field.node_of(aim[0])
        if node is None:
            return None
        line, pids = self._field.lines[node], self._field.pids_of(node)
        before = line.struck["swallowed"]
        line.partition()
        self._pause(LEASE_S + 0.5, LEASE_S + 2.0)
        line.heal()
        struck = line.struck["swallowed"] > before
        return {"node": node, "pids": pids} if struck else None

    def _cut(self) -> Facts | None:
        name = self._rng.choice(list(self._field.lines))
        pids = self._field.pids_of(name) if name in NODES else []
        return {"line": name, "pids": pids} if self._field.lines[name].cut() else None

    # -- storage

    def _s3_errors(self) -> Facts | None:
        line, before = self._field.s3_line, self._field.s3_line.failed
        line.fail()
        self._pause(0.8, 2.5)
        line.is_failing = False
        return {"requests": line.failed - before} if line.failed > before else None

    def _s3_slow(self) -> Facts | None:
        return self._spoil_s3("delayed", Way(latency_s=0.3, jitter_s=0.4))

    def _s3_hole(self) -> Facts | None:
        return self._spoil_s3("swallowed", HOLE)

    def _spoil_s3(self, proof: str, way: Way) -> Facts | None:
        line = self._field.s3_line
        before = line.struck[proof]  # type: ignore[index]
        line.spoil(down=way)
        self._pause(1.0, 3.0)
        line.heal()
        return {"chunks": line.struck[proof] - before} if line.struck[proof] > before else None  # type: ignore[index]

    # -- messages

    def _messages_lost(self) -> Facts | None:
        """A thief waits at the queues beside the workers; what he gets has left Redis and nobody knows."""
        stolen = []
        until_s = time.monotonic() + AIM_S
        with self._broker() as client:
            while time.monotonic() < until_s and len(stolen) < 3:
                got: Any = client.brpop(list(self._field.queue_keys), timeout=1)
                stolen += [got] if got else []
        return {"messages": len(stolen)} if stolen else None

    def _messages_doubled(self) -> Facts | None:
        jobs = self._traffic.unfinished()
        if not jobs:
            return None
        doubled = self._rng.sample(jobs, min(5, len(jobs)))
        for job_id in doubled:
            self._field.send(job_id)
        return {"jobs": doubled}

    def _messages_forged(self) -> Facts | None:
        messages = self._field.forge()
        with self._broker() as client:
            taken = until(lambda: all(client.llen(key) == 0 for key in self._field.queue_keys))
        return {"messages": messages} if taken else None

    # -- jobs

    def _poison(self, does: Does) -> Facts | None:
        job_id = self._traffic.submit_one(does=does)
        return {"jobs": [job_id]} if until(lambda: self._field.watch.has_begun(job_id), self._field.poison_s) else None

    def _cancel(self) -> Facts | None:
        jobs = self._traffic.unfinished()
        self._rng.shuffle(jobs)
        for job_id in jobs:
            before = self._field.fleet.store.get(job_id)
            if before.state in TERMINAL or self._traffic.is_poison(job_id):
                continue
            # Noted before it is asked for: the job may be canceled before we hear that it will be.
            self._field.history.note(Event.CANCEL_ASKED, job_id)
            job = self._field.fleet.store.cancel(job_id)
            if job.state not in TERMINAL or job.result is None:
                return {"jobs": [job_id], "was": before.state}
        return None

    def _receiver_down(self) -> Facts | None:
        receiver = self._field.receiver
        before = receiver.refused
        receiver.is_down = True
        self._pause(1.0, 3.0)
        receiver.is_down = False
        return {"refused": receiver.refused - before} if receiver.refused > before else None

    # -- ours

    def _aim(self) -> tuple[int, list[str]] | None:
        """A busy worker process and what it has in work."""
        ours: dict[int, dict[str, int]] = {}

        def found() -> bool:
            alive = set(self._field.all_pids())
            ours.clear()
            ours.update({pid: jobs for pid, jobs in self._field.watch.busy().items() if pid in alive})
            return bool(ours)

        if not until(found, AIM_S):
            return None
        pid = self._rng.choice(sorted(ours))
        return pid, list(ours[pid])

    def _let_recover(self, jobs: list[str], since: float) -> None:
        """Wait for what is measured: a second fault on top would be measured with it."""
        urgent = [job for job in jobs if not self._traffic.is_batch(job)]
        until(lambda: all(self._field.watch.claimed_at(job) > since for job in urgent), self._field.recovery_s)

    def _broker(self) -> Any:
        return redis.Redis(port=self._field.redis.port, decode_responses=True)

    def _pause(self, least_s: float, most_s: float) -> None:
        time.sleep(self._rng.uniform(least_s, most_s))
