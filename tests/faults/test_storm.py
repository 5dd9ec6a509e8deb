"""A small storm: real supervisors, worker processes, keepers and servers, and a few faults in a seeded order.

The full size, its control and its promises of time are `make storm`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from photomend.stack.errors import ServerMissing
from tests import services
from tests.faults.history import Entry, Event
from tests.faults.storm.figures import (
    COUNTS,
    RECOVERY_S,
    broken_promises,
    figures,
    percentile,
    poison_max_runs,
    recoveries,
)
from tests.faults.storm.run import plan, storm

SEED, JOBS, FAULTS, DRAINS = 5, 40, 9, 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_small_storm_breaks_no_promise(tmp_path: Path) -> None:
    try:
        outcome = storm(seed=SEED, jobs=JOBS, faults=FAULTS, drains=DRAINS, folder=tmp_path, tell=lambda _: None)
    except ServerMissing as err:
        services.missing(str(err))
    found = figures(outcome)
    assert found["faults"] == FAULTS + DRAINS, "each fault struck"
    assert found["jobs"] >= JOBS
    assert broken_promises(found, timed=False) == [], outcome.violations


def entry(event: Event, at: float, job: str | None = None, pid: int = 1, **facts: object) -> Entry:
    return Entry(event=event, at=at, job=job, pid=pid, facts=facts)


def test_recovery_is_from_the_fault_to_the_next_claim_and_to_the_next_commit() -> None:
    history = [
        entry(Event.ACCEPTED, 0.0, "a", lane="interactive"),
        entry(Event.ACCEPTED, 0.0, "b", lane="interactive"),
        entry(Event.ACCEPTED, 0.0, "c", lane="batch"),
        entry(Event.CLAIMED, 1.0, "a"),
        entry(Event.CLAIMED, 1.0, "b"),
        entry(Event.CLAIMED, 3.5, "a"),
        entry(Event.STRUCK, 4.0, kind="kill-process", struck_at=2.0, pids=[1], jobs=["a", "b", "c"]),
        entry(Event.CLAIMED, 5.0, "b"),
        entry(Event.CLAIMED, 6.5, "c"),
        entry(Event.MOVED, 7.0, "a", move="release"),
        entry(Event.MOVED, 9.0, "a", move="commit"),
        entry(Event.STRUCK, 9.5, kind="redis-kill", struck_at=5.5, back_at=6.0, pids=[]),
        entry(Event.STRUCK, 20.0, kind="kill-process", struck_at=20.0, pids=[2], jobs=["a"]),
        entry(Event.STRUCK, 26.0, kind="redis-stall", struck_at=20.1, pids=[]),
        entry(Event.CLAIMED, 27.0, "a"),
    ]
    assert recoveries(history) == {
        "process_kill": [1.5, 3.0],
        "node_loss": [],
        "redis_restart": [3.0],
        "kills_drawn_out_by_an_outage": [7.0],
    }


def test_runs_of_poison_count_when_it_ran_alone_and_the_storm_did_not_end_them() -> None:
    def run(pid: int, *, alone: bool) -> list[Entry]:
        return [entry(Event.CLAIMED, 0.0, "p", pid, alone=alone), entry(Event.BEGAN, 0.0, "p", pid)]

    history = [
        entry(Event.ACCEPTED, 0.0, "p", poison=True),
        *run(1, alone=False),
        *run(2, alone=True),
        *run(3, alone=True),
        *run(4, alone=True),
        entry(Event.STRUCK, 0.0, kind="kill-process", pids=[4]),
    ]
    assert poison_max_runs(history) == 2


def test_a_percentile_is_the_value_that_so_many_do_not_exceed() -> None:
    values = [float(n) for n in range(1, 201)]
    assert [percentile(values, p) for p in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 99) is None


def test_broken_promises_are_named() -> None:
    kept = dict.fromkeys(COUNTS, 0) | {
        "faults": 300,
        "faults_wanted": 300,
        "ended_in_time": True,
        "poison_max_runs": 3,
        "doctor": [],
    }
    kept |= {"recovery_p99_s": {**RECOVERY_S, "node_loss": 99.0}, "overhead_ms_per_job": 5.0}
    assert broken_promises(kept) == []
    for name, value in {
        **dict.fromkeys(COUNTS, 1),
        "faults_wanted": 301,
        "ended_in_time": False,
        "poison_max_runs": 4,
        "doctor": ["x"],
        "recovery_p99_s": {"process_kill": RECOVERY_S["process_kill"] + 0.1, "redis_restart": None},
        "overhead_ms_per_job": 5.1,
    }.items():
        assert len(broken_promises(kept | {name: value})) == 1, name


def test_the_same_seed_plans_the_same_storm_with_every_kind_in_it() -> None:
    kinds = [f"kind-{n}" for n in range(20)]
    drawn = [plan(kinds, 60, random.Random(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == set(kinds)
    assert len(drawn[0]) == 60
    assert len(plan(kinds, 5, random.Random(1))) == 5
