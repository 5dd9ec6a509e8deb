"""Retries: within a deadline, with jitter, from a budget that all callers share."""

from __future__ import annotations

import random

import pytest

from jobs.errors import ObjectMissing, StorageUnavailable
from jobs.retrying import RETRY_RESERVE, RETRY_SHARE, TRIES, Deadline, Passing, RetryBudget, persistently


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Server:
    """Fails as often as it is told to."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.requests = 0

    def __call__(self, _: Deadline) -> str:
        self.requests += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return "done"


def ask(server: Server, clock: Clock, *, budget: RetryBudget | None = None, within_s: float = 60.0) -> str:
    return persistently(
        server,
        budget=budget or RetryBudget(),
        within_s=within_s,
        clock=clock,
        sleep=clock.sleep,
        rng=random.Random(7),
    )


def test_passing_trouble_is_ridden_out_with_growing_jittered_waits() -> None:
    clock, server = Clock(), Server(*[Passing("x")] * (TRIES - 1))
    assert ask(server, clock) == "done"
    assert server.requests == TRIES
    assert all(0 <= wait <= 0.5 * 2**n for n, wait in enumerate(clock.slept))


def test_the_last_try_says_what_is_wrong() -> None:
    with pytest.raises(Passing, match="still"):
        ask(Server(*[Passing("x")] * (TRIES - 1), Passing("still")), Clock())


@pytest.mark.parametrize("lasting", [StorageUnavailable("disk full"), ObjectMissing("no such key")])
def test_what_a_moment_does_not_mend_is_not_tried_again(lasting: Exception) -> None:
    server = Server(lasting)
    with pytest.raises(type(lasting)):
        ask(server, Clock())
    assert server.requests == 1


def test_the_server_is_waited_for_as_long_as_it_asks() -> None:
    clock = Clock()
    assert ask(Server(Passing("x", retry_after_s=9.0)), clock) == "done"
    assert clock.slept == [9.0]


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    clock, server = Clock(), Server(Passing("x", retry_after_s=61.0))
    with pytest.raises(Passing):
        ask(server, clock)
    assert (clock.slept, server.requests) == ([], 1)


def test_over_a_long_outage_retries_stay_a_small_share_of_the_calls() -> None:
    budget, calls, requests = RetryBudget(), 500, 0
    for _ in range(calls):
        server = Server(*[Passing("down")] * TRIES)
        with pytest.raises(Passing):
            ask(server, Clock(), budget=budget)
        requests += server.requests
    assert requests <= calls * (1 + RETRY_SHARE) + RETRY_RESERVE
    assert requests / calls <= 1.2


def test_after_an_outage_retries_are_earned_again_but_not_hoarded() -> None:
    budget = RetryBudget(share=0.5, reserve=2.0)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
