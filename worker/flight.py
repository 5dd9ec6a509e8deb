"""One job in the air: its lease, its place in the lane, and whether it is alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from jobs.model import Job, Progress
from jobs.traces import UNTRACED
from pipeline.types import Stage
from worker.lane import Lane, LaneStopped
from worker.lease import Lease, Stop, Stopped
from worker.order import Standing
from worker.progress import percent_of
from worker.spans import Attempt

T = TypeVar("T")

#: Below this, progress says nothing about the time that is left.
TRUSTED_PERCENT = 10

#: How often a job that waits for the lane looks whether it has to stop (seconds).
LOOK_EVERY_S = 0.1


class Pulse:
    """Whether a job makes progress: quiet host work is fine for a while, device work as long as its budget allows."""

    def __init__(self, lane: Lane, *, stage_budget_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lane = lane
        self._stage_budget_s = stage_budget_s
        self._clock = clock
        self._marked_at = clock()
        self._future: Future[Any] | None = None

    def mark(self) -> None:
        """Something happened."""
        self._marked_at = self._clock()

    @contextmanager
    def in_lane(self, future: Future[Any]) -> Iterator[None]:
        """While inside, the job waits for ``future``: for its turn without limit, for its end within its budget."""
        self._future = future
        try:
            yield
        finally:
            self.mark()
            self._future = None

    @property
    def is_computing(self) -> bool:
        """True while the lane works on this very job."""
        future = self._future
        return future is not None and future.running()

    def is_alive(self) -> bool:
        if self._future is not None:
            return not (self.is_computing and self._lane.overdue() is not None)
        return self._clock() - self._marked_at <= self._stage_budget_s


class Flight:
    """What ``run_job`` gives to the pipeline as ``on_progress`` and ``compute``, and what a drain looks at."""

    def __init__(
        self,
        lease: Lease,
        lane: Lane,
        pulse: Pulse,
        *,
        attempt: Attempt | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``attempt`` hears what it is at."""
        self.lease = lease
        self.attempt = attempt or Attempt(UNTRACED)
        self._lane = lane
        self.pulse = pulse
        self._clock = clock
        self._began_at = clock()
        self._in_lane_s = 0.0
        self._device_s: dict[str, float] = {}
        self.standing = Standing()

    @property
    def device_s(self) -> dict[str, float]:
        """Stage → how long the device worked for this job (s), without its waiting for a turn."""
        return dict(self._device_s)

    @property
    def host_s(self) -> float | None:
        """What it took so far without its time in the lane (s), or for its turn there; None: it never was there."""
        return self._clock() - self._began_at - self._in_lane_s if self._in_lane_s else None

    @property
    def job(self) -> Job:
        return self.lease.job

    def on_progress(self, stage: str, fraction: float) -> None:
        """Tell and check.

        Raises:
            Stopped: the job must end here.
        """
        self.pulse.mark()
        self.attempt.at(str(stage), fraction)
        self.lease.tell(Progress(stage=str(stage), percent=percent_of(stage, fraction)))
        self.lease.check()

    def compute(self, work: Callable[[], T], *, stage: Stage, megapixels: float) -> T:
        """``work()`` on the lane; the ``Compute`` port of the pipeline.

        Raises:
            Stopped: the job must end; work that had not begun is dropped.
        """
        self.lease.check()
        handed_in_at = self._clock()
        try:
            future = self._lane.submit(
                work,
                megapixels=megapixels,
                label=stage.value,
                on_spent=partial(self._spend, stage.value),
                standing=self.standing,
            )
            with self.pulse.in_lane(future):
                return self._wait(future)
        except (LaneStopped, CancelledError) as error:
            raise Stopped(Stop.DRAIN) from error
        finally:
            self._in_lane_s += self._clock() - handed_in_at

    def _spend(self, stage: str, seconds: float) -> None:
        self._device_s[stage] = self._device_s.get(stage, 0.0) + seconds

    def _wait(self, future: Future[T]) -> T:
        while True:
            try:
                return future.result(timeout=LOOK_EVERY_S)
            except TimeoutError:
                if future.done():
                    raise  # the work's own TimeoutError
                # Work that runs cannot be stopped; only what waits is dropped.
                if self.lease.stopping is not None and future.cancel():
                    self.lease.check()

    def fits(self, within_s: float) -> bool:
        """Whether the job will probably end in time, judged by its progress; at first it has the benefit of doubt."""
        progress = self.lease.progress
        if progress is None or progress.percent < TRUSTED_PERCENT:
            return True
        elapsed_s = self._clock() - self._began_at
        return elapsed_s * (100 - progress.percent) / progress.percent <= within_s


class Flights:
    """The jobs of this process that are in the air."""

    def __init__(self, *, on_landed: Callable[[Flight], object] = lambda _: None) -> None:
        """``on_landed`` hears of each that ended, however it did."""
        self._lock = threading.Lock()
        self._flights: dict[int, Flight] = {}
        self._on_landed = on_landed

    @contextmanager
    def aboard(self, flight: Flight) -> Iterator[Flight]:
        with self._lock:
            self._flights[id(flight)] = flight
        try:
            yield flight
        finally:
            with self._lock:
                self._flights.pop(id(flight), None)
            self._on_landed(flight)

    def all(self) -> tuple[Flight, ...]:
        with self._lock:
            return tuple(self._flights.values())
