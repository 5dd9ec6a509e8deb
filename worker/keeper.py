"""The keeper: feeder, sweeper, callback sender and batch runner in one light process. Never imports torch.

Several may run and any of them may die: short locks spread the work, and every step is safe when two do it.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from jobs import callbacks
from jobs.blobs import BlobStore
from jobs.metrics.listener import Listener
from jobs.outbound import Poster
from jobs.queue import Sender, make_celery
from jobs.startup import require_safe
from jobs.store import Delivery, JobStore
from jobs.traces import Traces, make_traces
from worker.batch_decisions import DecisionReporter
from worker.batch_items import Place
from worker.batches import BatchRunner
from worker.callbacks import CallbackSender
from worker.endpoints import Endpoints
from worker.feeder import LOCK_SHARE, Feeder, Rounds
from worker.keeper_meter import KeeperMeter
from worker.loops import repeat
from worker.settings import KeeperSettings
from worker.sweeper import Sweeper
from worker.vitals import BEAT_S, Vitals

logger = structlog.get_logger(__name__)

#: How long the loops may take to end (seconds).
STOP_S = 20.0
#: How often reports are looked for that decisions have overtaken (seconds): they wait for their reviewers to be quiet.
DECISIONS_EVERY_S = 1.0


class Locks(Protocol):
    """Short locks that keepers share work by."""

    def lock(self, name: str, *, ttl_s: float) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Something that a keeper does over and over."""

    name: str
    every_s: float
    step: Callable[[], object]
    is_shared: bool  #: whether one keeper at a time is enough


class Keeper:
    """Runs its chores, each in a thread of its own, until told to stop."""

    def __init__(
        self,
        locks: Locks,
        chores: tuple[Chore, ...],
        *,
        alive_file: Path | None = None,
        meter: KeeperMeter | None = None,
    ) -> None:
        """``alive_file`` is written every few seconds while all chores turn."""
        self._locks = locks
        self._chores = chores
        self._vitals = Vitals((chore.name for chore in chores), alive_file)
        self._meter = meter or KeeperMeter()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        threads = [
            threading.Thread(target=self._repeat, args=(chore, stop), name=chore.name, daemon=True)
            for chore in self._chores
        ]
        for thread in threads:
            thread.start()
        logger.info("keeper works", chores=[chore.name for chore in self._chores])
        self._vitals.beat()
        while not stop.wait(BEAT_S):
            self._vitals.beat()
        for thread in threads:
            thread.join(STOP_S)
        logger.info("keeper stopped")

    def _repeat(self, chore: Chore, stop: threading.Event) -> None:
        def step() -> None:
            self._vitals.turned(chore.name)
            if not chore.is_shared or self._locks.lock(chore.name, ttl_s=chore.every_s * LOCK_SHARE):
                chore.step()

        repeat(chore.name, step, every_s=chore.every_s, stop=stop, on_round=self._meter.passed)


def run(settings: KeeperSettings, stop: threading.Event) -> None:
    """Keep with real servers until ``stop`` is set; neither Redis nor the storage need to be up when it begins.

    Raises:
        NotSetUp: see ``jobs.startup.require_safe``; or the metrics' port is taken.
    """
    store = JobStore.connect(settings)
    require_safe(store, settings)
    endpoints = Endpoints(at_a_time=settings.callback_threads_per_host, shut_s=settings.callback_shut_s)
    meter = KeeperMeter(shut=endpoints.shut)
    traces = make_traces(settings, component="keeper")
    listener = Listener(settings, meter.registry)
    blobs = BlobStore.connect(settings)
    sender = _callback_sender(settings, store, endpoints, meter, traces)
    feeder = Feeder(store, Sender(make_celery(settings)), batch_share=settings.batch_share)
    rounds = Rounds(store, feeder.step, every_s=settings.feed_every_s)
    sweeper = Sweeper(store, blobs)
    batches = _batch_runner(settings, store, blobs, traces)
    decisions = DecisionReporter(store, blobs, bucket=settings.bucket)
    chores = [
        # It waits by itself, for nudges, and takes the lock for timed rounds alone.
        Chore(name="feeder", every_s=0.0, step=rounds.step, is_shared=False),
        Chore(name="sweeper", every_s=settings.sweep_every_s, step=sweeper.step, is_shared=True),
        # Each batch is leased by itself, so all keepers run some.
        Chore(name="batches", every_s=settings.batch_every_s, step=batches.step, is_shared=False),
        # Each report is leased by itself.
        Chore(name="decisions", every_s=DECISIONS_EVERY_S, step=decisions.step, is_shared=False),
    ]
    if sender is not None:
        # Each delivery is leased by itself, so all keepers send.
        chores.append(Chore(name="callbacks", every_s=settings.callback_every_s, step=sender.step, is_shared=False))
    try:
        Keeper(store, tuple(chores), alive_file=settings.alive_path, meter=meter).run(stop)
    finally:
        listener.close()
        batches.close()
        if sender is not None:
            sender.close()
        traces.close()


def _batch_runner(settings: KeeperSettings, store: JobStore, blobs: BlobStore, traces: Traces) -> BatchRunner:
    place = Place(
        blobs=blobs,
        may_read=store.tenants.require_readable,
        bucket=settings.bucket,
        max_bytes=settings.max_upload_bytes,
        traces=traces,
    )
    # Of this process alone: a batch is not taken for one's own after a restart.
    name = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}"
    return BatchRunner(
        store,
        blobs,
        place,
        name=name,
        window=settings.batch_window,
        max_pixels=settings.max_pixels,
        lease_s=settings.batch_lease_s,
    )


def _callback_sender(
    settings: KeeperSettings, store: JobStore, endpoints: Endpoints, meter: KeeperMeter, traces: Traces
) -> CallbackSender | None:
    if settings.callback_secret is None:
        logger.warning("callbacks are not sent: PHOTOMEND_CALLBACK_SECRET is not set")
        return None

    def sign(delivery: Delivery, now: float) -> dict[str, str]:
        return callbacks.headers(settings.callback_secrets(delivery.tenant), delivery.id, delivery.body, now)

    return CallbackSender(
        store,
        Poster(allow_hosts=settings.callback_allow_hosts, timeout_s=settings.callback_timeout_s),
        sign=sign,
        schedule_s=settings.callback_schedule_s,
        timeout_s=settings.callback_timeout_s,
        threads=settings.callback_threads,
        endpoints=endpoints,
        meter=meter,
        traces=traces,
    )
