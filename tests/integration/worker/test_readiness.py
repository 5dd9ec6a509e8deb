"""The real engine in a real worker process: ready means ready, and not ready says why."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.options import JobOptions
from jobs.states import JobState
from tests.fleet import Fleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REAL_APP = "worker.app:app"


def test_a_worker_without_weights_takes_nothing_and_says_what_to_do(fleet: Fleet, tmp_path: Path) -> None:
    fleet.keeper()
    fleet.start_workers("bare", app=REAL_APP, PHOTOMEND_WEIGHTS_DIR=str(tmp_path / "empty"))
    wait_for(lambda: "not ready" in fleet.log("bare"), what="it says that it is not ready", within_s=90)
    job_id = fleet.submit(fleet.upload())
    time.sleep(1.0)  # what must not happen has no event to wait for

    assert "photomend models fetch gfpgan-1.4" in fleet.log("bare")
    assert fleet.store.slots() == ()
    assert fleet.store.get(job_id).state is JobState.QUEUED


def test_a_worker_that_may_use_the_preview_pack_is_warm_when_it_says_so_and_every_job_tells(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.keeper()
    folder = str(tmp_path / "empty")
    process = fleet.start_workers("real", app=REAL_APP, PHOTOMEND_WEIGHTS_DIR=folder, PHOTOMEND_ALLOW_PREVIEW="1")[0]
    slots = wait_for(lambda: fleet.slots_of(process), what="it is ready", within_s=120)
    assert {model["name"] for model in slots.models} == {"preview", "preview-detector"}

    job = fleet.ended(fleet.submit(fleet.upload(), options=JobOptions()), within_s=60)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.model["name"] == "preview"
    assert "preview_weights" in {notice.code for notice in job.result.warnings}
