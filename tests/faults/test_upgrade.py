"""A rolling restart: a newer worker beside an older one while jobs flow, then the older one drained."""

from __future__ import annotations

import signal
import sys
from collections import Counter

import pytest

from jobs.codec import VERSION
from jobs.states import JobState
from tests.fleet import FAKE_APP, Fleet, wait_for

pytestmark = pytest.mark.slow
NEWER_APP = "tests.newer_worker:app"
JOBS = 8


@pytest.mark.timeout(200)
def test_nothing_is_lost_or_done_twice_while_a_newer_version_takes_over(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.keeper()
    words = {"PHOTOMEND_THREADS": "2", "PHOTOMEND_DRAIN_S": "20", "PHOTOMEND_RESEND_AFTER_S": "0.5"}
    older = fleet.command("older", [sys.executable, "-m", "tests.fake_supervisor", FAKE_APP], **words)
    wait_for(fleet.store.slots, what="the older worker is ready")
    ref = fleet.upload()
    jobs = [fleet.submit(ref, work_s=0.4) for _ in range(JOBS)]
    older_pid = fleet.running(jobs[0])["pid"]

    # An option that only the newer version knows: its jobs are written in its form.
    with monkeypatch.context() as newer_api:
        newer_api.setattr("jobs.admission.form_of", lambda _: VERSION + 1)
        theirs = [fleet.submit(ref, work_s=0.1) for _ in range(3)]
    assert fleet.store._redis.hget(f"{{photomend}}:job:{theirs[0]}", "v") == str(VERSION + 1)
    wait_for(lambda: "nothing to claim" in fleet.log("older"), what="the older one was offered it, and left it")

    fleet.command("newer", [sys.executable, "-m", "tests.fake_supervisor", NEWER_APP], **words)
    wait_for(lambda: len(fleet.store.slots()) == 2, what="both are ready")
    late = [fleet.submit(ref, work_s=0.3) for _ in range(JOBS)]
    wait_for(
        lambda: len({x["pid"] for x in fleet.history("began") if x["job"] in {*jobs, *late}}) == 2,
        what="both versions work on jobs of the old form",
    )
    older.send_signal(signal.SIGTERM)
    assert older.wait(40) == 0

    # Of the newer form the records cannot be read here, as by every older process.
    ended = [fleet.ended(job_id, within_s=60) for job_id in (*jobs, *late)]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert {job.attempt for job in ended} == {1}, "a drain is no attempt"
    state = lambda job_id: fleet.store._redis.hget(f"{{photomend}}:job:{job_id}", "state")  # noqa: E731
    wait_for(lambda: {state(job_id) for job_id in theirs} == {"succeeded"}, what="the newer one did its own")

    runs = Counter(x["job"] for x in fleet.history("ended") if x["job"])
    assert set(runs) == {*jobs, *late, *theirs}
    assert set(runs.values()) == {1}, "each was done once"
    assert older_pid not in {x["pid"] for x in fleet.history("began") if x["job"] in theirs}
    assert all(fleet.blobs.head(one.ref).size > 0 for job in ended if job.result for one in job.result.artifacts)
    assert list(fleet.store.doctor().examine()) == []
