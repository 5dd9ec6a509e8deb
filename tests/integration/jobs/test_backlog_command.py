"""``photomend backlog`` on our own Redis: what waits, for whom, and how many workers would do it in time."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from jobs.backlog import Slots
from jobs.model import Job, ObjectRef, Priority, Tenant, TenantId, new_job_id
from jobs.settings import JobsSettings
from jobs.store import JobStore
from photomend.cli import app

ACME = TenantId("acme")


@pytest.fixture
def store(redis_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    found = JobStore.connect(redis_settings)
    yield found
    found.close()


def submit(store: JobStore, tenant: str, priority: Priority, count: int) -> None:
    for _ in range(count):
        photo = ObjectRef(bucket="photos", key="a.jpg")
        job = Job(id=new_job_id(), tenant=TenantId(tenant), input=photo, priority=priority, input_bytes=800_000)
        store.submit(job)


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["backlog", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_what_waits_is_told_by_priority_and_tenant_as_seconds_and_as_workers(store: JobStore):
    store.set_tenant(Tenant(id=ACME))
    submit(store, "acme", Priority.BATCH, 30)
    submit(store, "local", Priority.INTERACTIVE, 2)
    (sent,) = store.take(credits=1, priority=Priority.INTERACTIVE)
    store.claim(sent, worker="w", lease_s=30)
    effort = {"job_s": 1.0, "megapixel_s": 2.0, "face_s": 0.5, "faces": 2.0, "megapixels": 1.5}
    store.publish_slots(Slots(worker="w", queues=(), free=3, total=4, heartbeat_s=60, effort=effort))

    words = json.loads(run("--json", "--clear-in", "1"))
    # 32 unfinished jobs of two estimated megapixels: 1 + 2 * 0.5 + 2 * 1.5 * 2 = 8 s each.
    assert words["work_s"] == pytest.approx(32 * 8)
    assert words["is_measured"] is True
    assert words["workers_needed"] == 5
    assert words["waiting"] == {"interactive": 1, "batch": 30, "suspect": 0}
    assert words["running"] == {"interactive": 1, "batch": 0}
    assert words["oldest_waiting_s"]["batch"] > 0
    assert words["oldest_waiting_s"]["suspect"] == 0
    assert [(one["tenant"], one["waiting"]["batch"], one["waiting"]["interactive"]) for one in words["tenants"]] == [
        ("acme", 30, 0),
        ("local", 0, 1),
    ]
    told = run("--clear-in", "1")
    assert "needed   5 to have all done in 1 min" in told
    assert "1 take jobs, 3 of 4 slots are free" in told
    assert "acme" in told


def test_nothing_waits_and_nothing_was_measured(store: JobStore):
    told = run()
    assert "needed   0" in told
    assert "no job was measured yet" in told


def test_a_job_that_was_begun_does_not_hide_an_older_one_behind_it(store: JobStore):
    """What was begun stands before what was not, whenever each was submitted."""
    submit(store, "local", Priority.BATCH, 2)
    older, newer = store.take(credits=2, priority=Priority.BATCH)
    begun = store.claim(newer, worker="w", lease_s=30)
    store.release(begun.id, epoch=begun.epoch, charge=False)
    store.hand_back(older)
    age = store._redis.time()[0] - store.get(older).created_at
    assert store.figures().oldest_s["batch"] >= age - 1
    store.cancel(older)
    assert store.figures().oldest_s["batch"] < store._redis.time()[0] + 1 - store.get(older).created_at
