"""When a process takes its turn with a suspect, and when it rests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.worker.clock import FakeClock
from worker.seclusion import REST_S, Seclusion

SHORTEST_S, LONGEST_S = REST_S


def seclusion(clock: FakeClock, *, turn_s: float = 0.0, is_empty: Callable[[], bool] = lambda: True) -> Seclusion:
    def run_alone() -> bool:
        if not is_empty():
            return False
        clock.now += turn_s
        return True

    return Seclusion(run_alone, clock=clock)


def test_a_new_process_rests_first_since_a_suspect_may_have_ended_the_last_one() -> None:
    clock = FakeClock()
    fresh = seclusion(clock)
    assert not fresh.is_rested
    clock.now += SHORTEST_S
    assert fresh.is_rested


@pytest.mark.parametrize(("turn_s", "rest_s"), [(1.0, SHORTEST_S), (20.0, 20.0), (900.0, LONGEST_S)])
def test_others_have_the_process_for_as_long_as_the_turn_took(turn_s: float, rest_s: float) -> None:
    clock = FakeClock()
    here = seclusion(clock, turn_s=turn_s)
    here.ask(True)
    assert here.is_asked
    assert here.step()
    assert not here.is_asked, "one suspect a turn"
    clock.now += rest_s - 0.01
    assert not here.is_rested
    clock.now += 0.02
    assert here.is_rested


def test_the_turn_begins_when_it_is_asked_for_so_that_becoming_empty_counts() -> None:
    clock, empty = FakeClock(), [False]
    here = seclusion(clock, turn_s=1.0, is_empty=lambda: empty[0])
    here.ask(True)
    assert not here.step()
    clock.now += 30
    here.ask(True)
    assert here.is_asked, "still"
    empty[0] = True
    assert here.step()
    clock.now += 30.5
    assert not here.is_rested
    clock.now += 1
    assert here.is_rested


def test_a_process_may_be_let_off() -> None:
    here = seclusion(FakeClock())
    here.ask(True)
    here.ask(False)
    assert not here.is_asked
