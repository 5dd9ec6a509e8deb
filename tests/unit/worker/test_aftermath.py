"""The store hears of each death, also when it does not answer at first."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.errors import StoreUnavailable
from jobs.model import JobId, new_job_id
from tests.unit.worker.clock import FakeClock
from worker.aftermath import TRY_FOR_S, Aftermath
from worker.exits import read_exit


class Held:
    """Keeps what it was told; ``trouble`` is raised for so many calls."""

    def __init__(self, trouble: int = 0) -> None:
        self.trouble = trouble
        self.told: list[tuple[str, bool, str | None]] = []

    def release_worker(self, worker: str, *, charge: bool, cause: str | None) -> Mapping[JobId, str]:
        if self.trouble:
            self.trouble -= 1
            raise StoreUnavailable("gone")
        self.told.append((worker, charge, cause))
        return {new_job_id(): "queued"}


def test_each_death_is_told_with_what_was_read_from_it() -> None:
    store = Held()
    aftermath = Aftermath(store)
    aftermath.of("a", read_exit(-11, was_told=False))
    aftermath.of("b", read_exit(0, was_told=True))
    aftermath.close(timeout_s=20)
    assert store.told == [("a", True, "SIGSEGV"), ("b", False, None)]


def test_a_store_that_does_not_answer_is_told_again_until_it_does() -> None:
    clock, store = FakeClock(), Held(trouble=5)
    aftermath = Aftermath(store, clock=clock, sleep=clock.sleep)
    aftermath.of("a", read_exit(-11, was_told=False))
    aftermath.close(timeout_s=20)
    assert store.told == [("a", True, "SIGSEGV")]


def test_after_long_enough_the_leases_are_left_to_lapse() -> None:
    clock, store = FakeClock(), Held(trouble=10**6)
    aftermath = Aftermath(store, clock=clock, sleep=clock.sleep)
    began = clock.now
    aftermath.of("a", read_exit(-11, was_told=False))
    aftermath.close(timeout_s=20)
    assert store.told == []
    assert clock.now - began >= TRY_FOR_S
