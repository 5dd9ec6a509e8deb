"""One worker process: ready or not, how busy, and how it ends."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from jobs.errors import StoreUnavailable
from jobs.logs import about
from jobs.model import JobId
from jobs.queue import QUEUES
from jobs.store import Slots
from worker.drain import Drain, release
from worker.engine import Engine
from worker.flight import Flights
from worker.lane import Computing, Lane
from worker.lease import Stop
from worker.readiness import RETRY_S, Readiness
from worker.run import Blobs, Ending, Store, Workplace, run_job
from worker.settings import WorkerSettings
from worker.slots import SlotBoard, SlotPublisher

logger = structlog.get_logger(__name__)

#: Exit status of a process whose device work, or whose job, hangs.
EXIT_HUNG = 70
#: After trouble with Redis or the storage, this process takes nothing new for so long (seconds); first and longest.
PAUSES_S = (1.0, 30.0)
#: How often a worker looks at itself (seconds).
LOOK_EVERY_S = 0.5
#: How long the lane may take to end its current piece at a normal exit (seconds).
LANE_STOP_S = 2.0


class NodeStore(Store, SlotBoard, Protocol):
    """The job store, as far as a worker goes."""


class Node:
    """Holds what lives as long as the process. ``run`` is called by Celery's threads, the rest by its signals."""

    def __init__(
        self, settings: WorkerSettings, *, store: NodeStore, blobs: Blobs, build_engine: Callable[[], Engine]
    ) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self.worker = f"{settings.node_name}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lane = Lane(floor_s=settings.lane_floor_s, first_s=settings.lane_first_s)
        self._readiness = Readiness(build_engine, self._lane)
        self._flights = Flights()
        self._lock = threading.Lock()
        self._busy = 0
        self._outages = 0
        self._paused_until = 0.0
        self._is_closed = False
        self._publisher = SlotPublisher(store, worker=self.worker, every_s=settings.slots_every_s, current=self._slots)
        self._drain = Drain(
            store,
            self._flights,
            grace_s=settings.drain_s,
            is_busy=lambda: self._busy > 0,
            on_begin=self._publisher.publish,
        )

    def start(self) -> None:
        """Warm up, then offer slots; called when Celery consumes."""
        self._drain.start()
        threading.Thread(target=self._prepare, name="warm-up", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def drain(self) -> None:
        """Begin to leave. Called in a signal handler."""
        self._drain.ask()

    def stop(self) -> None:
        """The last act of an orderly exit, when no job runs any more."""
        self._publisher.stop()
        self._is_closed = True
        self._publisher.publish()
        if not self._lane.stop(timeout_s=LANE_STOP_S) or self._drain.status:
            os._exit(self._drain.status)

    def run(self, job_id: JobId) -> None:
        """See one job through, unless this process is about to leave, is not ready, or has no thread to spare."""
        with about(job_id), self._occupied():
            engine = self._readiness.engine
            if engine is None or self._drain.is_asked:
                # The message is spent, the record is not: the feeder sends the job again.
                logger.info("job left to others", ready=engine is not None, draining=self._drain.is_asked)
                return
            try:
                ending = run_job(job_id, place=self._place(engine))
            except StoreUnavailable as error:
                logger.warning("job not claimed, Redis does not answer", error=str(error))
                ending = Ending.OUTAGE
            self._learn(ending)

    @contextmanager
    def _occupied(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        self._publisher.publish()
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
            self._publisher.publish()

    def _place(self, engine: Engine) -> Workplace:
        settings = self._settings
        return Workplace(
            store=self._store,
            blobs=self._blobs,
            engine=engine,
            lane=self._lane,
            worker=self.worker,
            bucket=settings.bucket,
            lease_s=settings.lease_s,
            max_bytes=settings.max_upload_bytes,
            stage_budget_s=settings.stage_budget_s,
            flights=self._flights,
        )

    def _learn(self, ending: Ending) -> None:
        """Stand back for a while when the surroundings fail, so that one outage does not churn the whole backlog."""
        with self._lock:
            if ending is not Ending.OUTAGE:
                self._outages = 0
                return
            first_s, longest_s = PAUSES_S
            pause_s = min(first_s * 2**self._outages, longest_s)
            self._outages = min(self._outages + 1, 10)
            self._paused_until = time.monotonic() + pause_s
        logger.warning("no new jobs for a while: Redis or the storage is in trouble", pause_s=pause_s)

    def _slots(self) -> Slots | None:
        engine = self._readiness.engine
        if engine is None or self._is_closed or self._drain.is_asked:
            return None
        total = self._settings.threads
        is_paused = time.monotonic() < self._paused_until
        return Slots(
            worker=self.worker,
            queues=tuple(QUEUES.values()),
            free=0 if is_paused else max(0, total - self._busy),
            total=total,
            models=tuple(engine.models()),
            engine=engine.name,
            heartbeat_s=self._settings.slots_every_s,
            draining=False,
        )

    def _prepare(self) -> None:
        while not self._readiness.prepare():
            time.sleep(RETRY_S)
        self._publisher.publish()
        self._publisher.start()

    def _watch(self) -> None:
        supervisor = self._settings.supervisor_pid
        while True:
            time.sleep(LOOK_EVERY_S)
            if (computing := self._lane.overdue()) is not None:
                self._leave_hung_lane(computing)
            if self._drain.is_asked:
                continue
            if any(flight.lease.stopping is Stop.HUNG for flight in self._flights.all()):
                self._leave("a job hangs outside the lane", status=EXIT_HUNG)
            elif supervisor is not None and os.getppid() != supervisor:
                self._leave("the supervisor is gone", status=0)

    def _leave(self, why: str, *, status: int) -> None:
        logger.error("leaving", why=why)
        self._drain.ask(status=status)
        # Through the front door, so that Celery stops consuming too.
        os.kill(os.getpid(), signal.SIGTERM)

    def _leave_hung_lane(self, computing: Computing) -> None:
        """End the process under device work that cannot be stopped; only the job that it belongs to is charged."""
        logger.error("device work hangs, leaving", stage=computing.label, budget_s=round(computing.budget_s, 1))
        for flight in self._flights.all():
            release(self._store, flight, charge=flight.pulse.is_computing)
        os._exit(EXIT_HUNG)
