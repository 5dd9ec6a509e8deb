"""What becomes of jobs when worker processes are killed, frozen, or told to go. Each test first proves the fault."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.model import Job
from jobs.states import JobState
from tests.fleet import FAKE_APP, LEASE_S, Fleet, wait_for

pytestmark = pytest.mark.slow

#: Lease, one sweep, one feed, and the time that a busy machine takes for the claim.
RECOVERY_S = LEASE_S + 6.0
#: What a busy machine takes to end a process and to tell us, past its grace.
EXIT_S = 3.0


def artifacts_of(fleet: Fleet, job: Job) -> int:
    """How many of the job's results are really in the bucket."""
    assert job.result is not None
    return sum(fleet.blobs.head(artifact.ref).size > 0 for artifact in job.result.artifacts)


def test_the_job_of_a_killed_worker_runs_again_elsewhere_and_ends_once(
    fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    fleet.keeper()
    workers = {process.pid: process for process in fleet.workers("a", "b")}
    job_id = fleet.submit(fleet.upload(), work_s=2.0)
    first = fleet.running(job_id)
    victim = workers.pop(first["pid"])
    other = workers.popitem()[1]

    victim.kill()
    killed_at = time.time()
    assert victim.wait() == -signal.SIGKILL
    assert fleet.store.get(job_id).state is JobState.PROCESSING, "the fault: the record still says that it runs"

    job = fleet.ended(job_id)
    assert job.state is JobState.SUCCEEDED
    assert (job.attempt, job.epoch) == (2, 2)
    began = fleet.history("began", job_id)
    assert [x["pid"] for x in began] == [victim.pid, other.pid]
    assert len(fleet.history("ended", job_id)) == 1
    assert artifacts_of(fleet, job) == 2
    recovered_s = began[-1]["at"] - killed_at
    record_property("recovery_s", round(recovered_s, 2))
    assert recovered_s <= RECOVERY_S


def test_a_frozen_worker_that_wakes_after_its_lease_changes_nothing(fleet: Fleet) -> None:
    fleet.keeper()
    names = {process.pid: name for name, process in zip("ab", fleet.workers("a", "b"), strict=True)}
    job_id = fleet.submit(fleet.upload(), work_s=1.5)
    zombie = fleet.running(job_id)["pid"]
    os.kill(zombie, signal.SIGSTOP)
    job = fleet.ended(job_id)
    assert fleet.history("began", job_id)[-1]["pid"] != zombie, "the fault: another worker took the job over"
    assert len(fleet.history("ended", job_id)) == 1, "the fault: the frozen one has not ended it yet"

    os.kill(zombie, signal.SIGCONT)
    wait_for(lambda: "job stopped" in fleet.log(names[zombie]), what="the zombie stops by itself")
    assert fleet.store.get(job_id) == job
    assert (job.state, job.epoch) == (JobState.SUCCEEDED, 2)
    assert artifacts_of(fleet, job) == 2


def test_a_drain_gives_back_what_does_not_fit_and_charges_nobody(fleet: Fleet) -> None:
    fleet.keeper()
    leaving = fleet.worker("leaving", threads=1, PHOTOMEND_DRAIN_S="2")
    job_id = fleet.submit(fleet.upload(), work_s=6)
    fleet.running(job_id)
    told_at = time.monotonic()
    leaving.send_signal(signal.SIGTERM)

    assert leaving.wait(30) == 0
    assert time.monotonic() - told_at <= 2.0 + EXIT_S
    assert fleet.history("ended", job_id) == [], "the fault: it left before the job was done"
    job = fleet.store.get(job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert fleet.slots_of(leaving) is None

    staying = fleet.worker("staying", threads=1)
    job = fleet.ended(job_id, within_s=20)
    assert (job.state, job.attempt, job.epoch) == (JobState.SUCCEEDED, 1, 2)
    assert fleet.history("ended", job_id)[0]["pid"] == staying.pid


def test_a_drain_finishes_what_fits(fleet: Fleet) -> None:
    fleet.keeper()
    leaving = fleet.worker("leaving", threads=1, PHOTOMEND_DRAIN_S="10")
    job_id = fleet.submit(fleet.upload(), work_s=2)
    fleet.running(job_id)
    leaving.send_signal(signal.SIGTERM)

    assert leaving.wait(30) == 0
    job = fleet.store.get(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


def test_a_job_that_hears_nothing_is_released_over_its_head_within_the_grace(fleet: Fleet) -> None:
    """One step of its work is longer than the grace, so it cannot be asked."""
    fleet.keeper()
    leaving = fleet.worker("leaving", threads=1, PHOTOMEND_DRAIN_S="2")
    job_id = fleet.submit(fleet.upload(), work_s=200)
    fleet.running(job_id)
    told_at = time.monotonic()
    leaving.send_signal(signal.SIGTERM)

    assert leaving.wait(30) == 0
    assert time.monotonic() - told_at <= 2.0 + EXIT_S
    job = fleet.store.get(job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_device_work_that_hangs_ends_the_process_and_charges_its_job_alone(fleet: Fleet) -> None:
    fleet.keeper()
    hung = fleet.worker("hung", threads=2, PHOTOMEND_LANE_FLOOR_S="1", PHOTOMEND_LANE_FIRST_S="1")
    guilty = fleet.submit(fleet.upload(), work_s=400)
    fleet.running(guilty)
    waiting = fleet.submit(fleet.upload(), work_s=0.1)
    fleet.running(waiting)

    assert hung.wait(30) == 70, "the fault: its budget was over, and it said so by its exit status"
    assert "device work hangs" in fleet.log("hung")
    assert (fleet.store.get(guilty).state, fleet.store.get(guilty).attempt) == (JobState.QUEUED, 1)
    assert (fleet.store.get(waiting).state, fleet.store.get(waiting).attempt) == (JobState.QUEUED, 0)


def test_the_supervisor_starts_a_dead_process_again_and_passes_a_drain_on(fleet: Fleet) -> None:
    fleet.keeper()
    supervisor = fleet.command("supervisor", [sys.executable, "-m", "tests.fake_supervisor", FAKE_APP])
    slots = wait_for(fleet.store.slots, what="the process is ready", within_s=40)
    child = int(slots[0].worker.split(":")[1])
    job_id = fleet.submit(fleet.upload(), work_s=2)
    assert fleet.running(job_id)["pid"] == child
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: "SIGKILL" in fleet.log("supervisor"), what="the supervisor read the exit: the fault struck")

    job = fleet.ended(job_id, within_s=40)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert fleet.history("ended", job_id)[0]["pid"] != child
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert fleet.store.slots() == ()


def test_processes_leave_when_their_supervisor_is_killed(fleet: Fleet) -> None:
    supervisor = fleet.command("supervisor", [sys.executable, "-m", "tests.fake_supervisor", FAKE_APP])
    slots = wait_for(fleet.store.slots, what="the process is ready", within_s=40)
    child = int(slots[0].worker.split(":")[1])
    supervisor.kill()
    assert supervisor.wait() == -signal.SIGKILL

    wait_for(lambda: _is_gone(child), what="the orphan leaves")
    assert fleet.store.slots() == ()


def _is_gone(pid: int) -> bool:
    """Ended, though perhaps not waited for: its new parent may not care."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
