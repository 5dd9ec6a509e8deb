"""Keepers in virtual time: the product's feeder, its rounds, sweeper and batch runner, as they are.

What they compute takes their interpreter's time, of which each keeper has one, as its threads have in operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.connection import PREFIX
from jobs.errors import StoreUnavailable
from jobs.model import JobId
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.bench.batch_million import runner_of
from tests.bench.fleet.machines import Broker
from tests.bench.fleet.metered import NUDGE, Site, VirtualRedis, connect
from tests.bench.fleet.virtual import Hub, Server
from worker.feeder import LOCK_SHARE, Feeder, Rounds
from worker.settings import KeeperSettings
from worker.sweeper import Sweeper

#: A receiver's answer, and how many callbacks a keeper looks for at a time.
RECEIVER_S = 0.05
CALLBACKS = 32
#: As long as a batch stays with a keeper that says nothing.
BATCH_LEASE_S = 60.0


def deterministic(store: JobStore) -> JobStore:
    """The store, which does not look every few real seconds whether a replica has come."""
    store._admission._replicas_seen = float("inf")
    return store


class Keeper:
    """One keeper's chores, with the intervals of ``KeeperSettings``."""

    def __init__(
        self,
        number: int,
        *,
        url: str,
        site: Site,
        broker: Broker,
        blobs: Any,
        settings: JobsSettings,
        window: int,
        send_s: float,
    ) -> None:
        """``send_s``: what sending one message by Celery takes of the interpreter."""
        self._hub = site.hub
        self._site = site
        self._interpreter = Server(self._hub)
        self._client = connect(url, site, interpreter=self._interpreter)
        self._store = deterministic(JobStore(self._client, settings))
        self._mail = _Mail(broker, self._client, self._interpreter, send_s)
        self._runner = runner_of(self._store, blobs, window=window, lease_s=BATCH_LEASE_S, clock=self._hub.clock)
        self._number = number
        self._chores = KeeperSettings.model_fields

    @property
    def busy_s(self) -> float:
        """What its interpreter has computed."""
        return self._interpreter.busy_s

    def start(self) -> None:
        feeder = Feeder(self._store, self._mail, batch_share=self._default("batch_share"), clock=self._hub.clock)
        nudges = _Nudges(self._site, self._client)
        rounds = Rounds(
            nudges, feeder.step, every_s=self._default("feed_every_s"), clock=self._hub.clock, sleep=self._hub.sleep
        )
        sweeper = Sweeper(self._store, _NoObjects())
        apart_s = 0.013 * self._number
        self._hub.spawn(_repeat, self._hub, rounds.step, 0.0, after_s=apart_s)
        self._hub.spawn(
            _repeat, self._hub, self._shared("sweeper", sweeper.step), self._default("sweep_every_s"), after_s=apart_s
        )
        self._hub.spawn(_repeat, self._hub, self._runner.step, self._default("batch_every_s"), after_s=apart_s)
        self._hub.spawn(_repeat, self._hub, self._call_back, self._default("callback_every_s"), after_s=apart_s)

    def close(self) -> None:
        self._runner._pool.shutdown()
        self._client.close()

    def _default(self, name: str) -> float:
        return float(self._chores[name].default)

    def _shared(self, name: str, step: Callable[[], object]) -> Callable[[], None]:
        """Only one keeper at a time: by virtual time, which the server's own locks do not know."""
        locks = self._site.locks

        def once() -> None:
            if locks.get(name, 0.0) <= self._hub.now:
                locks[name] = self._hub.now + self._default("sweep_every_s") * LOCK_SHARE
                step()

        return once

    def _call_back(self) -> None:
        for delivery in self._store.due_callbacks(limit=CALLBACKS, lease_s=30.0):
            self._hub.spawn(self._deliver, delivery.id)

    def _deliver(self, delivery_id: str) -> None:
        self._hub.sleep(RECEIVER_S)
        self._store.callback_delivered(delivery_id)


def _repeat(hub: Hub, step: Callable[[], object], every_s: float) -> None:
    while True:
        step()
        if every_s:
            hub.sleep(every_s)


class _Mail:
    """What the feeder sends by: the same commands, and the computing that kombu does around them."""

    def __init__(self, broker: Broker, client: VirtualRedis, interpreter: Server, send_s: float) -> None:
        self._broker, self._client, self._interpreter, self._send_s = broker, client, interpreter, send_s

    def send(self, job_id: JobId, queue: str) -> None:
        self._interpreter.use(self._send_s)
        self._broker.send(job_id, queue, client=self._client)

    def depth(self, queue: str) -> int:
        return self._broker.depth(queue)


class _Nudges:
    """When a feeder is to look: at once after a nudge, as a blocking POP would tell it."""

    def __init__(self, site: Site, client: VirtualRedis) -> None:
        self._site, self._client = site, client

    def nudged(self, *, within_s: float) -> bool:
        return self._client.lpop(NUDGE) is not None or self._site.nudges.wait(min(within_s, 1.0))

    def lock(self, name: str, *, ttl_s: float) -> bool:
        until = self._site.locks.get(name, 0.0)
        if until > self._site.hub.now:
            return False
        self._site.locks[name] = self._site.hub.now + ttl_s
        # The command that it is, for its cost; the server's own clock is the real one.
        self._client.set(f"{PREFIX}lock:{name}:simulated", "1")
        return True


class _NoObjects:
    """A storage in which nothing is to be deleted."""

    def delete(self, refs: Any) -> None:
        raise StoreUnavailable(f"nothing was stored: {refs}")
