"""Leaving in good order, with a grace of a fraction of a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.model import Job, JobId, Progress
from tests.samples import job
from tests.unit.worker.clock import FakeClock
from worker.drain import Drain
from worker.flight import Flight, Flights
from worker.lease import Stop

GRACE_S = 1.0


class Releases:
    """Keeps what was released; ``trouble`` is raised instead."""

    def __init__(self) -> None:
        self.released: list[tuple[JobId, int, bool]] = []
        self.trouble: Exception | None = None

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: Any = None) -> Job:
        if self.trouble:
            raise self.trouble
        self.released.append((job_id, epoch, charge))
        return job()


class Stage:
    """A drain over flights that a test lands when it likes."""

    def __init__(self) -> None:
        self.store, self.flights = Releases(), Flights()
        self.begun, self.left = threading.Event(), threading.Event()
        self.status: int | None = None
        self.drain = Drain(
            self.store,
            self.flights,
            grace_s=GRACE_S,
            is_busy=lambda: bool(self.flights.all()),
            on_begin=self.begun.set,
            exit_process=self._leave,
        )
        self.drain.start()

    def _leave(self, status: int) -> None:
        self.status = status
        self.left.set()

    def fly(self, *, percent: int = 0, obeys: bool = True) -> Any:
        """A flight in the air; one that obeys lands when it is asked to."""
        flight = _flight(percent)
        context = self.flights.aboard(flight)
        context.__enter__()

        def stop(reason: Stop) -> None:
            flight.asked.append(reason)
            if obeys:
                context.__exit__(None, None, None)

        flight.lease.stop = stop
        flight.land = lambda: context.__exit__(None, None, None)
        return flight


def _flight(percent: int) -> Any:
    flight: Any = SimpleNamespace(job=job(epoch=2), asked=[], lease=SimpleNamespace())
    flight.fits = lambda within_s: percent > 50
    return flight


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_nothing_happens_until_it_is_asked_for(stage: Stage) -> None:
    stage.fly()
    assert not stage.begun.wait(0.2)
    assert not stage.drain.is_asked


def test_what_fits_is_left_to_finish_and_what_does_not_is_asked_to_stop(stage: Stage) -> None:
    soon_done, long_way = stage.fly(percent=90), stage.fly(percent=5)
    stage.drain.ask()
    assert stage.begun.wait(20)
    _until(lambda: long_way.asked)
    assert long_way.asked[0] is Stop.DRAIN
    assert soon_done.asked == []
    soon_done.land()
    assert stage.left.wait(20)
    assert stage.store.released == [], "both left by themselves"


def test_a_flight_that_does_not_answer_is_released_over_its_head_in_time(stage: Stage) -> None:
    deaf = stage.fly(percent=5, obeys=False)
    began = time.monotonic()
    stage.drain.ask(status=70)
    assert stage.left.wait(20)
    assert time.monotonic() - began <= GRACE_S + 0.2
    assert stage.store.released == [(deaf.job.id, 2, False)]
    assert stage.status == 70


def test_redis_out_of_reach_does_not_keep_the_process(stage: Stage) -> None:
    stage.fly(obeys=False)
    stage.store.trouble = StoreUnavailable("gone")
    stage.drain.ask()
    assert stage.left.wait(20)


def test_one_signal_that_arrives_twice_is_one(stage: Stage) -> None:
    clock = FakeClock()
    drain = Drain(stage.store, stage.flights, grace_s=60, is_busy=lambda: True, on_begin=lambda: None, clock=clock)
    drain.ask()
    clock.now += 0.2
    drain.ask()
    assert not drain._hurried
    clock.now += 5
    drain.ask()
    assert drain._hurried


def test_a_flights_progress_says_whether_it_fits() -> None:
    clock = FakeClock()
    lease: Any = SimpleNamespace(progress=Progress(stage="restore", percent=5))
    lane: Any = None
    pulse: Any = None
    flight = Flight(lease, lane, pulse, clock=clock)
    clock.now += 10
    assert flight.fits(0.1), "5 % says nothing yet"
    lease.progress = Progress(stage="restore", percent=50)
    assert flight.fits(10.0)
    assert not flight.fits(9.9)


def _until(claim: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.01)
