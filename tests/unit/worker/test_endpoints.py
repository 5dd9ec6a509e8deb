"""One receiver's trouble is kept from the others."""

from __future__ import annotations

import pytest

from tests.unit.worker.clock import FakeClock
from worker import endpoints as module
from worker.endpoints import SILENCES_TO_SHUT, Endpoints, Hold, Shut

URL = "https://slow.example.com/hook?job=1"
SAME_HOST = "https://slow.example.com/other"
OTHER = "https://slow.example.com:8443/hook"
SHUT_S = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def endpoints(clock: FakeClock) -> Endpoints:
    return Endpoints(at_a_time=2, shut_s=SHUT_S, clock=clock)


def silent(endpoints: Endpoints, url: str = URL, times: int = 1) -> None:
    for _ in range(times):
        assert endpoints.enter(url) is None
        endpoints.leave(url, took_s=15.0, answered=False)


def test_a_receiver_gets_so_many_at_a_time_whatever_the_path_and_others_are_not_concerned(endpoints: Endpoints) -> None:
    assert endpoints.enter(URL) is None
    assert endpoints.enter(SAME_HOST) is None
    assert isinstance(endpoints.enter(URL), Hold)
    assert endpoints.enter(OTHER) is None
    endpoints.leave(URL, took_s=0.1, answered=True)
    assert endpoints.enter(URL) is None


def test_those_in_line_come_back_one_after_the_other_at_the_receivers_pace(endpoints: Endpoints) -> None:
    for _ in range(2):
        assert endpoints.enter(URL) is None
    holds = [endpoints.enter(URL) for _ in range(200)]
    waits = [hold.for_s for hold in holds if isinstance(hold, Hold)]
    assert len(waits) == 200
    assert waits == sorted(waits)
    assert waits[0] == module.HOLD_S[0]
    assert waits[-1] == module.HOLD_S[1], "not for ever: it may get faster"


def test_a_silent_receiver_is_not_tried_for_a_while_and_then_once(endpoints: Endpoints, clock: FakeClock) -> None:
    silent(endpoints, times=SILENCES_TO_SHUT)
    assert isinstance(endpoints.enter(URL), Shut)
    assert isinstance(endpoints.enter(SAME_HOST), Shut), "the server is down, not the path"
    assert endpoints.enter(OTHER) is None
    clock.now += SHUT_S
    assert endpoints.enter(URL) is None, "the one that tries"
    assert isinstance(endpoints.enter(URL), Shut)
    endpoints.leave(URL, took_s=15.0, answered=False)
    assert isinstance(endpoints.enter(URL), Shut), "still silent"
    clock.now += SHUT_S
    assert endpoints.enter(URL) is None
    endpoints.leave(URL, took_s=0.1, answered=True)
    assert endpoints.enter(URL) is None, "it is back"


def test_a_refusal_is_an_answer(endpoints: Endpoints) -> None:
    silent(endpoints, times=SILENCES_TO_SHUT - 1)
    assert endpoints.enter(URL) is None
    endpoints.leave(URL, took_s=0.1, answered=True)
    silent(endpoints)
    assert endpoints.enter(URL) is None


def test_a_receiver_that_asks_for_quiet_gets_it_but_not_for_ever(endpoints: Endpoints, clock: FakeClock) -> None:
    assert endpoints.enter(URL) is None
    endpoints.leave(URL, took_s=0.1, answered=True, quiet_s=1e6)
    hold = endpoints.enter(URL)
    assert isinstance(hold, Hold)
    assert hold.for_s == module.HOLD_S[1]
    clock.now += module.HOLD_S[1]
    assert endpoints.enter(URL) is None


def test_receivers_that_nothing_goes_to_are_forgotten(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORIGINS", 3)
    busy = "https://busy.example.com/"
    assert endpoints.enter(busy) is None
    for number in range(20):
        silent(endpoints, f"https://host-{number}.example.com/")
    assert len(endpoints._origins) <= 4
    endpoints.leave(busy, took_s=1.0, answered=True)
