"""What a job takes beside the lane is measured without its time there, and without waiting for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.types import Stage
from tests.unit.worker.clock import FakeClock
from worker.flight import Flight, Flights, Pulse
from worker.lane import Lane


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def flight(clock: FakeClock) -> Iterator[Flight]:
    lane = Lane(floor_s=60.0, first_s=60.0, clock=clock)
    lease: Any = SimpleNamespace(check=lambda: None, stopping=None)
    yield Flight(lease, lane, Pulse(lane, stage_budget_s=60.0, clock=clock), clock=clock)
    lane.stop(timeout_s=20.0)


def test_time_in_the_lane_does_not_count_whether_its_work_ends_well_or_not(flight: Flight, clock: FakeClock) -> None:
    def fails() -> None:
        clock.sleep(4.0)
        raise ZeroDivisionError

    clock.sleep(1.0)
    assert flight.host_s is None, "a job that never was in the lane says nothing of how many go beside each other"
    flight.compute(lambda: clock.sleep(10.0), stage=Stage.RESTORE, megapixels=1.0)
    with pytest.raises(ZeroDivisionError):
        flight.compute(fails, stage=Stage.RESTORE, megapixels=1.0)
    clock.sleep(2.0)
    assert flight.host_s == pytest.approx(3.0)


def test_a_landing_is_told_of_when_the_flight_is_over_however_it_ends(flight: Flight) -> None:
    landed: list[tuple[Flight, int]] = []
    flights = Flights(on_landed=lambda one: landed.append((one, len(flights.all()))))

    def fly() -> None:
        with flights.aboard(flight):
            assert flights.all() == (flight,)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fly()
    assert landed == [(flight, 0)]
