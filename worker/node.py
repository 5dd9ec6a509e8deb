"""One worker process: ready or not, how busy, what it takes, and how it ends."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from jobs.errors import StoreUnavailable
from jobs.logs import about
from jobs.model import JobId
from jobs.outbound import Fetcher
from jobs.queue import QUEUES
from jobs.store import Slots
from jobs.traces import UNTRACED, Traces
from worker.crew import Crew
from worker.drain import Drain
from worker.engine import Engine
from worker.flight import Flight, Flights
from worker.growth import Growth
from worker.lane import Lane
from worker.meter import Meter
from worker.processes import worker_name
from worker.readiness import RETRY_S, Readiness
from worker.run import Blobs, Ending, FetchUrl, Store, Workplace, no_urls, run_job, run_suspect
from worker.seclusion import Seclusion
from worker.settings import WorkerSettings
from worker.slots import SlotBoard, SlotPublisher
from worker.watch import Watch, WatchStore

logger = structlog.get_logger(__name__)

#: After trouble with Redis or the storage, this process takes nothing new for so long (seconds); first and longest.
PAUSES_S = (1.0, 30.0)
#: How often a process that leaves looks whether its last job has ended (seconds).
LOOK_EVERY_S = 0.05
#: How long the lane may take to end its current piece at a normal exit (seconds).
LANE_STOP_S = 2.0


class NodeStore(Store, SlotBoard, WatchStore, Protocol):
    """The job store, as far as a worker goes."""

    def hand_back(self, job_id: JobId) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a process asks about what it computes on."""

    is_lost: Callable[[BaseException], bool] = lambda _: False  #: whether every later call will fail like this one
    share: Callable[[], float] = lambda: 0.0  #: of its memory that is allocated here, 0 to 1
    allocated_bytes: Callable[[], int] = lambda: 0  #: the same
    shortages: Callable[[], int] = lambda: 0  #: how often its memory did not suffice
    words: Callable[[], dict[str, Any]] = dict  #: what it is, for the fleet's board; asked once it is ready


class Node:
    """Holds what lives as long as the process. ``run`` is called by Celery's threads, the rest by its signals."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        store: NodeStore,
        blobs: Blobs,
        build_engine: Callable[[], Engine],
        device: Device | None = None,
        meter: Meter | None = None,
        traces: Traces = UNTRACED,
    ) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self.worker = worker_name(settings.node_name, os.getpid(), settings.incarnation or secrets.token_hex(4))

        device = self._device = device or Device()
        self._meter = meter or Meter()
        self._traces = traces
        self._describe = functools.cache(device.words)

        def on_error(error: BaseException) -> None:
            if device.is_lost(error):
                self._watch.leave_with_lost_device(error)

        self._lane = Lane(floor_s=settings.lane_floor_s, first_s=settings.lane_first_s, on_error=on_error)
        self._readiness = Readiness(build_engine, self._lane)
        self._crew = Crew(least=settings.least_threads or settings.threads, most=settings.threads)
        self._worked_s = 0.0
        self._flights = Flights(on_landed=self._landed)
        self._fetch_url = _fetch_url(settings)
        self._lock = threading.Lock()
        self._busy = 0
        self._outages = 0
        self._paused_until = 0.0
        self._is_closed = False
        self._tell: Callable[[], object] = lambda: None
        self._seclusion = Seclusion(self._run_alone)
        self._growth = Growth(
            recycle_mb=settings.recycle_mb,
            limit_mb=settings.memory_limit_mb,
            recycle_device_share=settings.recycle_device_share,
            device_share=device.share,
        )
        self._watch = Watch(
            self, settings=settings, store=store, lane=self._lane, flights=self._flights, growth=self._growth
        )
        self._publisher = SlotPublisher(
            store,
            worker=self.worker,
            every_s=settings.slots_every_s,
            current=self._slots,
            on_secluded=self._seclusion.ask,
            on_published=self._tell_news,
        )
        self._drain = Drain(
            store,
            self._flights,
            grace_s=settings.drain_s,
            is_busy=lambda: self.is_busy,
            on_begin=self._publisher.publish,
        )

    def keep_watch(self) -> None:
        """Notice from now on, also while Celery has no broker yet, when it is time to leave."""
        self._drain.start()
        self._watch.start()

    def start(self) -> None:
        """Warm up, then offer slots; called when Celery consumes."""
        self._seclusion.start()
        threading.Thread(target=self._prepare, name="warm-up", daemon=True).start()

    def on_news(self, tell: Callable[[], object]) -> None:
        """``tell`` is called when ``takes_jobs`` may have changed, and every so often; it replaces the one before."""
        self._tell = tell

    def _tell_news(self) -> None:
        self._tell()

    def drain(self) -> None:
        """Begin to leave. Called in a signal handler."""
        self._drain.ask()

    def stop(self) -> None:
        """The last act of an orderly exit, when none of Celery's threads runs a job any more; it does not return."""
        if not self.is_leaving:
            self._drain.ask()
        # A suspect has a thread of its own; the drain sees to its end, and to ours if that does not come.
        while self.is_busy:
            time.sleep(LOOK_EVERY_S)
        self._publisher.stop()
        self._is_closed = True
        self._publisher.publish()
        self._lane.stop(timeout_s=LANE_STOP_S)
        logger.info("lane stopped", **self._lane.figures().words())
        self._traces.close()
        # Not by the interpreter's own end: under so many libraries' threads it takes seconds of the grace, or crashes.
        logging.shutdown()
        os._exit(self._drain.status)

    @property
    def takes_jobs(self) -> bool:
        """Whether messages should be fetched: those that come all the same are handed back."""
        return self._offers_jobs and not self._seclusion.is_asked and time.monotonic() >= self._paused_until

    @property
    def _offers_jobs(self) -> bool:
        is_ending = self._is_closed or self._watch.is_retiring or self.is_leaving
        return self._readiness.engine is not None and not is_ending

    @property
    def is_busy(self) -> bool:
        return self._busy > 0

    @property
    def is_leaving(self) -> bool:
        return self._drain.is_asked

    def say_what_it_takes(self) -> None:
        self._publisher.publish()

    def run(self, job_id: JobId) -> None:
        """See one job through, unless this process is about to leave, is not ready, or waits for a suspect."""
        with about(job_id), self._occupied():
            engine = self._readiness.engine
            if engine is None or not self.takes_jobs:
                self._leave_to_others(job_id)
            else:
                self._learn(lambda: run_job(job_id, place=self._place(engine)))

    def _leave_to_others(self, job_id: JobId) -> None:
        """The message is spent, the record is not: the feeder sends the job again."""
        logger.info("job left to others")
        try:
            self._store.hand_back(job_id)
        except StoreUnavailable as error:
            logger.warning("job not handed back; it is sent again later", error=str(error))

    def _run_alone(self) -> bool:
        engine = self._readiness.engine
        with self._lock:
            if self._busy or engine is None or not self._offers_jobs or time.monotonic() < self._paused_until:
                return False
            self._busy += 1
        try:
            self._publisher.publish()
            ending = self._learn(lambda: run_suspect(place=self._place(engine)))
        finally:
            with self._lock:
                self._busy -= 1
        if ending is Ending.NOT_ALONE:
            return False
        self._seclusion.ask(False)
        self._publisher.publish()
        return True

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
            fetch_url=self._fetch_url,
            flights=self._flights,
            meter=self._meter,
            traces=self._traces,
        )

    def _learn(self, attempt: Callable[[], Ending]) -> Ending:
        """How ``attempt`` ended; what that says of the next ones is kept."""
        try:
            ending = attempt()
        except StoreUnavailable as error:
            logger.warning("job not claimed, Redis does not answer", error=str(error))
            ending = Ending.OUTAGE
        self._meter.attempted(ending.value)
        if ending is Ending.SECLUDED:
            self._seclusion.ask(True)
        elif ending is Ending.OUTAGE:
            self._pause()
        else:
            with self._lock:
                self._outages = 0
        return ending

    def _landed(self, flight: Flight) -> None:
        """Learn from a job how many go well at a time, and how long a usual one is."""
        self._lane.ended(flight.standing)
        with self._lock:
            worked_s = self._lane.figures().working_s
            lane_s, self._worked_s = worked_s - self._worked_s, worked_s
        if flight.host_s is not None:
            self._crew.learn(host_s=flight.host_s, lane_s=lane_s)

    def _pause(self) -> None:
        """Stand back for a while when the surroundings fail, so that one outage does not churn the whole backlog."""
        with self._lock:
            first_s, longest_s = PAUSES_S
            pause_s = min(first_s * 2**self._outages, longest_s)
            self._outages = min(self._outages + 1, 10)
            self._paused_until = time.monotonic() + pause_s
        logger.warning("no new jobs for a while: Redis or the storage is in trouble", pause_s=pause_s)

    def _slots(self) -> Slots | None:
        engine = self._readiness.engine
        if engine is None or not self._offers_jobs:
            return None
        total, figures = self._crew.size, self._lane.figures()
        self._meter.lane(figures)
        self._meter.device(allocated_bytes=self._device.allocated_bytes(), shortages=self._device.shortages())
        effort = self._meter.efforts.effort(threads=total)
        return Slots(
            worker=self.worker,
            queues=tuple(QUEUES.values()),
            free=max(0, total - self._busy) if self.takes_jobs else 0,
            total=total,
            models=tuple(engine.models()),
            engine=engine.name,
            heartbeat_s=self._settings.slots_every_s,
            draining=False,
            lane=figures.words(),
            effort=dataclasses.asdict(effort) if effort is not None else {},
            device=self._describe(),
            rested=self._seclusion.is_rested and time.monotonic() >= self._paused_until,
        )

    def _prepare(self) -> None:
        while not self._readiness.prepare():
            time.sleep(RETRY_S)
        self._growth.settle()
        self._publisher.publish()
        self._publisher.start()

    def leave(self, *, status: int) -> None:
        """Begin to leave with this exit status."""
        self._drain.ask(status=status)
        # Through the front door, so that Celery stops consuming too.
        os.kill(os.getpid(), signal.SIGTERM)


def _fetch_url(settings: WorkerSettings) -> FetchUrl:
    if not settings.input_urls:
        return no_urls
    return Fetcher(allow_hosts=settings.input_allow_hosts, timeout_s=settings.input_url_timeout_s).fetch
