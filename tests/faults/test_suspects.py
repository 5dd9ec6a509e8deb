"""Pictures that end their process, and what becomes of the jobs beside them. Each test first proves the fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs.model import Job, JobId
from jobs.states import JobState
from tests.fleet import FAKE_APP, Fleet, wait_for
from tests.poison import Poison, picture

pytestmark = pytest.mark.slow

#: The supervisor's look, one feed, one claim; and, where the other worker has its hands full, the end of a job there. A
#: busy machine takes its time for all of it. Far below this test's lease.
QUICK_S = 10.0
LONG_LEASE_S = "30"
INNOCENTS = 2
#: Five starts of a Python process with numpy and Celery, one after the other, on a busy machine.
CONTAINED_S = 150.0

#: How a picture ends its process: what the record calls it, and the one limit that is low. Both in one process would
#: let the busier machine choose, since a hog takes its time as well.
ENDINGS = [
    (Poison.HOG, "memory", {"PHOTOMEND_MEMORY_LIMIT_MB": "700"}),
    (Poison.HANG, "hang", {"PHOTOMEND_LANE_FLOOR_S": "2", "PHOTOMEND_LANE_FIRST_S": "2"}),
]


def supervised(fleet: Fleet, name: str = "supervisor", **env: str) -> subprocess.Popen[bytes]:
    """A supervisor with one process of three threads, ready."""
    words = {"PHOTOMEND_THREADS": "3", "PHOTOMEND_LEASE_S": LONG_LEASE_S} | env
    process = fleet.command(name, [sys.executable, "-m", "tests.fake_supervisor", FAKE_APP], **words)
    wait_for(fleet.store.slots, what="the process is ready", within_s=60)
    return process


def poisoned(fleet: Fleet, kind: Poison) -> JobId:
    return fleet.submit(fleet.upload(picture(kind), key=f"in/{kind.name}.png"))


def runs(fleet: Fleet, job_id: JobId) -> list[int]:
    """The processes that ran it, in order."""
    return [note["pid"] for note in fleet.history("began", job_id)]


def was_alone(fleet: Fleet, job_id: JobId, pid: int) -> bool:
    """Whether nothing else was in the restorer of this process while it ran the job, by what the restorer noted."""
    began = next(n for n in fleet.history("began", job_id) if n["pid"] == pid)
    mine = {note["job"]: note["at"] for note in fleet.history("began") if note["pid"] == pid and note["job"] != job_id}
    ended = {note["job"]: note["at"] for note in fleet.history("ended") if note["pid"] == pid}
    return all(at > began["at"] or ended.get(job, float("inf")) < began["at"] for job, at in mine.items())


@pytest.mark.timeout(200)
def test_poison_is_contained_and_the_innocents_beside_it_end_well(
    fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    fleet.keeper()
    supervised(fleet)
    innocents = [fleet.submit(fleet.upload(), work_s=1.0) for _ in range(INNOCENTS)]
    for job_id in innocents:
        fleet.running(job_id)
    guilty = poisoned(fleet, Poison.SEGFAULT)
    began = time.monotonic()
    wait_for(lambda: "SIGSEGV" in fleet.log("supervisor"), what="the process died: the fault struck")

    dead = fleet.ended(guilty, within_s=CONTAINED_S)
    record_property("contained_s", round(time.monotonic() - began, 1))
    assert dead.failure is not None
    assert (dead.state, dead.failure.code) == (JobState.FAILED, "poison")
    assert [death.cause for death in dead.deaths] == ["SIGSEGV"] * 4
    assert [death.is_alone for death in dead.deaths] == [False, True, True, True]
    pids = runs(fleet, guilty)
    assert len(pids) == len(set(pids)) == 4, "once among others, three times alone"
    assert all(was_alone(fleet, guilty, pid) for pid in pids[1:])
    for job in map(fleet.ended, innocents):
        assert (job.state, job.is_suspect) == (JobState.SUCCEEDED, False)
        assert not any(death.is_alone for death in job.deaths), "none is blamed"
    assert list(fleet.store.doctor().examine()) == []


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("kind", "cause", "limits"), ENDINGS, ids=[cause for _, cause, _ in ENDINGS])
def test_a_picture_that_ends_its_process_makes_its_job_a_suspect(
    fleet: Fleet, kind: Poison, cause: str, limits: dict[str, str]
) -> None:
    fleet.keeper()
    supervised(fleet, **limits)
    job_id = poisoned(fleet, kind)
    job = wait_for(lambda: _with_deaths(fleet, job_id, 1), what=f"{kind!r} strikes", within_s=60)
    assert [(death.cause, death.is_alone, death.engine) for death in job.deaths] == [(cause, False, "fake")]
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    fleet.store.cancel(job_id)


@pytest.mark.timeout(150)
def test_jobs_of_a_killed_process_run_again_long_before_their_leases_end_and_none_is_blamed(
    fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    fleet.keeper()
    (other,) = fleet.start_workers("other", threads=3, PHOTOMEND_LEASE_S=LONG_LEASE_S)
    supervised(fleet)
    wait_for(lambda: fleet.slots_of(other), what="the other worker is ready")
    jobs = [fleet.submit(fleet.upload(), work_s=3.0) for _ in range(4)]
    began = [fleet.running(job_id) for job_id in jobs]
    victims = {note["job"]: note["pid"] for note in began if note["pid"] != other.pid}
    (victim,) = set(victims.values())
    os.kill(victim, signal.SIGKILL)
    killed_at = time.time()
    wait_for(lambda: "SIGKILL" in fleet.log("supervisor"), what="the supervisor read the exit: the fault struck")

    for job in map(fleet.ended, jobs):
        assert (job.state, job.deaths) == (JobState.SUCCEEDED, ())
    again_s = [note["at"] - killed_at for job_id in victims for note in fleet.history("began", job_id)[1:]]
    record_property("recovery_s", round(min(again_s), 2))
    assert min(again_s) <= QUICK_S


@pytest.mark.timeout(150)
def test_a_lost_device_ends_its_process_with_status_71_and_counts_against_nobody(fleet: Fleet) -> None:
    fleet.keeper()
    supervised(fleet)
    beside = fleet.submit(fleet.upload(), work_s=2.0)
    fleet.running(beside)
    guilty = poisoned(fleet, Poison.DEVICE)
    wait_for(lambda: "exit status 71" in fleet.log("supervisor"), what="the process said so: the fault struck")
    job = wait_for(lambda: _with_deaths(fleet, guilty, 2), what="it is tried again, alone", within_s=60)
    assert [(death.cause, death.is_alone) for death in job.deaths] == [("device_lost", False)] * 2
    fleet.store.cancel(guilty)
    innocent = fleet.ended(beside, within_s=60)
    assert (innocent.state, innocent.attempt, innocent.deaths) == (JobState.SUCCEEDED, 1, ())


@pytest.mark.timeout(150)
def test_a_process_that_leaks_is_started_anew_between_jobs_and_no_job_notices(
    fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    fleet.keeper()
    # Less than it needs: the limit becomes a little more than it held when it was ready, whatever that was.
    supervisor = supervised(fleet, PHOTOMEND_RECYCLE_MB="1")
    event = "PHOTOMEND_RECYCLE_MB is too low for this process"
    limit_mb = wait_for(lambda: _facts(fleet.log("supervisor"), event), what="the limit was set anew")["used_mb"]
    ref = fleet.upload(picture(Poison.LEAK), key="in/leak.png")
    jobs, most_mb = [], 0.0
    for _ in range(12):
        jobs.append(fleet.submit(ref, work_s=0.1))
        most_mb = max([most_mb, *_rss_mb_of_children(supervisor.pid)])
        time.sleep(0.5)
    ended = [fleet.ended(job_id, within_s=90) for job_id in jobs]
    assert len({pid for job_id in jobs for pid in runs(fleet, job_id)}) >= 2, "the fault: it grew, and was replaced"
    assert "exit status 73" in fleet.log("supervisor")
    assert {(job.state, job.attempt) for job in ended} == {(JobState.SUCCEEDED, 1)}
    assert all(len(fleet.history("began", job_id)) == 1 for job_id in jobs)
    # Until the next look, and until it is empty, jobs go on: how many is the machine's pace, so no bound is asserted.
    record_property("most_mb", round(most_mb))
    record_property("limit_mb", round(limit_mb))


@pytest.mark.timeout(150)
def test_a_worker_that_runs_suspects_has_turns_for_other_jobs(fleet: Fleet) -> None:
    """A fleet of one: suspects do not wait for ever behind a steady stream, nor the stream behind them."""
    fleet.keeper()
    supervised(fleet)
    victims = [fleet.submit(fleet.upload(), work_s=1.0) for _ in range(3)]
    for job_id in victims:
        fleet.running(job_id)
    fleet.store.release_worker(fleet.store.slots()[0].worker, charge=True, cause="SIGSEGV")
    assert all(fleet.store.get(job_id).is_suspect for job_id in victims), "the fault: as if the process had died"
    stream = [fleet.submit(fleet.upload(), work_s=0.3) for _ in range(30)]
    for job in (fleet.ended(job_id, within_s=90) for job_id in [*victims, *stream]):
        assert job.state is JobState.SUCCEEDED
    order = [note["job"] for note in fleet.history("ended")]
    first, last = min(order.index(job_id) for job_id in victims), max(order.index(job_id) for job_id in victims)
    assert any(job_id in order[first:last] for job_id in stream), "others ran between the suspects"


def _with_deaths(fleet: Fleet, job_id: JobId, count: int) -> Job | None:
    job = fleet.store.get(job_id)
    return job if len(job.deaths) >= count else None


def _facts(log: str, event: str) -> dict[str, Any] | None:
    """What the first whole line of this event tells; None = it is not there yet."""
    lines = (line for line in log.splitlines(keepends=True) if f'"{event}"' in line and line.endswith("\n"))
    return next((json.loads(line) for line in lines), None)


def _rss_mb_of_children(pid: int) -> list[float]:
    sizes: list[Any] = []
    listed = subprocess.run(["ps", "--ppid", str(pid), "-o", "rss="], capture_output=True, text=True, check=False)
    sizes += [int(word) / 1024 for word in listed.stdout.split()]
    return sizes
