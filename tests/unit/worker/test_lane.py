"""The lane: one thread, in order, each item's fate its own."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest

from tests.unit.worker.clock import FakeClock
from worker.lane import PATIENCE, Lane, LaneStopped
from worker.order import Standing

FLOOR_S, FIRST_S = 5.0, 50.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lane(clock: FakeClock) -> Iterator[Lane]:
    lane = Lane(floor_s=FLOOR_S, first_s=FIRST_S, clock=clock)
    yield lane
    assert lane.stop(timeout_s=5)


class Gate:
    """Work that says when it runs and waits to be let on."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.opened.wait(20)
        return "through"


def test_work_runs_in_order_on_one_thread_that_is_not_the_callers(lane: Lane) -> None:
    seen: list[tuple[int, int]] = []
    futures = [
        lane.submit(lambda n=n: seen.append((n, threading.get_ident())), megapixels=1, label="x") for n in range(20)
    ]
    for future in futures:
        future.result(20)
    assert [n for n, _ in seen] == list(range(20))
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("this one"), SystemExit("this one"), MemoryError("this one")])
def test_one_bad_item_fails_alone(lane: Lane, error: BaseException) -> None:
    def bad() -> None:
        raise error

    before = lane.submit(lambda: 1, megapixels=1, label="x")
    failing = lane.submit(bad, megapixels=1, label="x")
    after = lane.submit(lambda: 2, megapixels=1, label="x")
    assert (before.result(20), after.result(20)) == (1, 2)
    with pytest.raises(type(error), match="this one"):
        failing.result(20)


def test_a_cancelled_item_is_never_computed(lane: Lane) -> None:
    gate, ran = Gate(), []
    first = lane.submit(gate, megapixels=1, label="x")
    second = lane.submit(lambda: ran.append(1), megapixels=1, label="x")
    assert second.cancel()
    gate.opened.set()
    assert first.result(20) == "through"
    lane.submit(lambda: None, megapixels=1, label="x").result(20)
    assert ran == []


def test_what_runs_is_overdue_only_past_its_budget(lane: Lane, clock: FakeClock) -> None:
    gate = Gate()
    future = lane.submit(gate, megapixels=1, label="tile")
    assert gate.entered.wait(20)
    clock.now += FIRST_S
    assert lane.overdue() is None
    clock.now += 0.1
    overdue = lane.overdue()
    assert overdue is not None
    assert overdue.label == "tile"
    gate.opened.set()
    future.result(20)
    assert lane.overdue() is None
    assert lane.computing() is None


def test_the_budget_follows_what_the_like_took_and_the_size(lane: Lane, clock: FakeClock) -> None:
    assert lane.budget_s(label="face", megapixels=1) == FIRST_S
    lane.submit(lambda: clock.sleep(8.0), megapixels=2, label="face").result(20)
    assert lane.budget_s(label="face", megapixels=10) == pytest.approx(PATIENCE * 4.0 * 10)
    assert lane.budget_s(label="face", megapixels=0.01) == FLOOR_S
    assert lane.budget_s(label="tile", megapixels=1) == FIRST_S


def test_whoever_watches_hears_of_an_error_before_its_job_does() -> None:
    heard: list[tuple[BaseException, bool]] = []
    lane = Lane(floor_s=1, first_s=1, on_error=lambda error: heard.append((error, future.done())))
    gate = Gate()
    lane.submit(gate, megapixels=1, label="x")

    def bad() -> None:
        raise ValueError("this one")

    future = lane.submit(bad, megapixels=1, label="x")
    gate.opened.set()
    with pytest.raises(ValueError, match="this one"):
        future.result(20)
    assert [(str(error), done) for error, done in heard] == [("this one", False)]
    assert lane.stop(timeout_s=5)


def test_a_failure_teaches_nothing_about_time(lane: Lane, clock: FakeClock) -> None:
    def bad() -> None:
        clock.sleep(0.001)
        raise ValueError("no result")

    with pytest.raises(ValueError, match="no result"):
        lane.submit(bad, megapixels=1, label="face").result(20)
    assert lane.budget_s(label="face", megapixels=1) == FIRST_S


def test_a_stopped_lane_ends_its_piece_drops_the_rest_and_takes_no_more() -> None:
    lane, gate = Lane(floor_s=1, first_s=1), Gate()
    running = lane.submit(gate, megapixels=1, label="x")
    waiting = lane.submit(lambda: 1, megapixels=1, label="x")
    assert gate.entered.wait(20)
    assert not lane.stop(timeout_s=0)
    with pytest.raises(LaneStopped):
        lane.submit(lambda: 1, megapixels=1, label="x")
    gate.opened.set()
    assert lane.stop(timeout_s=5)
    assert running.result(20) == "through"
    with pytest.raises(CancelledError):
        waiting.result(20)


def test_an_idle_lane_keeps_no_picture_alive(lane: Lane) -> None:
    class Picture:
        pass

    picture = Picture()
    ref = weakref.ref(picture)
    lane.submit(lambda p=picture: None, megapixels=1, label="x").result(20)
    del picture
    # The lane lets go just after it answers.
    lane.submit(lambda: None, megapixels=1, label="x").result(20)
    gc.collect()
    assert ref() is None


def test_alike_jobs_end_one_after_the_other_once_a_job_has_shown_what_is_usual(lane: Lane, clock: FakeClock) -> None:
    """By turns they would end together: then the lane waits for three pictures to be stored and three to be fetched."""

    def order() -> str:
        gate, seen, standings = Gate(), list[str](), {name: Standing() for name in "abc"}
        opened = lane.submit(gate, megapixels=0, label="busy")
        assert gate.entered.wait(20)

        def work(name: str) -> Callable[[], None]:
            return lambda: (clock.sleep(1.0), seen.append(name))[1]

        futures = [
            lane.submit(work(name), megapixels=1, label="x", standing=standings[name])
            for _ in range(3)
            for name in "abc"
        ]
        gate.opened.set()
        for future in (opened, *futures):
            future.result(20)
        for standing in standings.values():
            lane.ended(standing)
        return "".join(seen)

    assert order() == "abcabcabc", "nobody knows yet what a job usually needs"
    assert order() == "aaabbbccc"
