"""Whoever can write to Redis, and has not the secret, has nothing read, written, deleted or sent anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.codec import result_to_json
from jobs.connection import PREFIX, job_key
from jobs.errors import NotSetUp, SpecForged
from jobs.model import LOCAL_TENANT, CallbackEvent, Job, JobId, ObjectRef, TenantId, new_job_id
from jobs.object_names import new_upload_id, result_ref, upload_ref
from jobs.outbox import FORGED, DeliveryState
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import ClaimRefusal, JobStore, Upload, UploadNotFound
from tests import samples
from tests.integration.jobs.conftest import expire
from worker.callbacks import CallbackSender
from worker.endpoints import Endpoints
from worker.lane import Lane
from worker.run import Ending, Workplace, run_job
from worker.sweeper import Sweeper

OTHER = SecretStr("another secret of the right length")


class Untouched:
    """A storage, an engine, a way out: the test fails at the first touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is touched")


def place(store: JobStore) -> Workplace:
    return Workplace(
        store=store, blobs=Untouched(), engine=Untouched(), lane=Lane(floor_s=9, first_s=9), worker="w", bucket="b",
        lease_s=30, max_bytes=9, stage_budget_s=9,
    )  # fmt: skip


def spec_of(store: JobStore, job_id: JobId) -> dict[str, Any]:
    return json.loads(store._redis.hget(job_key(job_id), "spec"))


def another_input(store: JobStore, job: Job) -> JobId:
    spec = spec_of(store, job.id) | {"input": "s3://somebody-elses/diary.jpg"}
    store._redis.hset(job_key(job.id), "spec", json.dumps(spec))
    return job.id


def another_callback(store: JobStore, job: Job) -> JobId:
    spec = spec_of(store, job.id)
    spec["callback"]["url"] = "https://attacker.example/"
    store._redis.hset(job_key(job.id), "spec", json.dumps(spec))
    return job.id


def no_code(store: JobStore, job: Job) -> JobId:
    store._redis.hdel(job_key(job.id), "code")
    return job.id


def another_tenant(store: JobStore, job: Job) -> JobId:
    store._redis.hset(job_key(job.id), "tenant", "victim")
    return job.id


def no_json(store: JobStore, job: Job) -> JobId:
    store._redis.hset(job_key(job.id), "spec", "{")
    return job.id


def moved_to_another_id(store: JobStore, job: Job) -> JobId:
    copy = new_job_id()
    store._redis.hset(job_key(copy), mapping=store._redis.hgetall(job_key(job.id)))
    store._redis.zadd(f"{PREFIX}index:{job.tenant}:queued", {copy: 1})
    return copy


@pytest.mark.parametrize(
    "forge", [another_input, another_callback, no_code, another_tenant, no_json, moved_to_another_id]
)
def test_a_record_that_we_did_not_sign_ends_without_a_touch_of_storage_and_tells_nobody(
    store: JobStore, forge: Callable[[JobStore, Job], JobId]
) -> None:
    job_id = forge(store, store.submit(samples.job(callback=samples.CALLBACK)).job)
    assert run_job(job_id, place=place(store)) is Ending.REFUSED
    state, failure = store._redis.hmget(job_key(job_id), "state", "failure")
    assert (state, json.loads(failure)["code"]) == ("failed", "spec_forged")
    assert store.due_callbacks(limit=10, lease_s=1) == ()
    with pytest.raises(SpecForged):
        store.replay(job_id)
    assert store.claim(job_id, worker="w", lease_s=30) is ClaimRefusal.NOT_QUEUED


def test_a_job_that_was_made_with_another_secret_is_given_up(store, make_store):
    job = make_store(signing_secret=OTHER).submit(samples.job()).job
    assert store.claim(job.id, worker="w", lease_s=30) is ClaimRefusal.FORGED
    assert [dead.id for dead in store.dead.jobs()] == [job.id]
    assert store.get(job.id).state is JobState.FAILED


def test_the_secret_is_changed_without_a_gap_and_what_was_given_up_meanwhile_can_be_replayed(make_store):
    old, new = make_store().submit(samples.job()).job, OTHER
    current = make_store()._settings.signing_secret
    # First everybody learns the new one, then it signs, then the old one is forgotten.
    learned, signing, done = (
        make_store(signing_secret=current, signing_secret_previous=new),
        make_store(signing_secret=new, signing_secret_previous=current),
        make_store(signing_secret=new),
    )
    fresh = signing.submit(samples.job()).job
    assert isinstance(learned.claim(fresh.id, worker="w", lease_s=30), Job)
    assert isinstance(signing.claim(old.id, worker="w", lease_s=30), Job)
    late = learned.submit(samples.job()).job
    assert done.claim(late.id, worker="w", lease_s=30) is ClaimRefusal.FORGED
    again = signing.replay(late.id).job
    assert isinstance(done.claim(again.id, worker="w", lease_s=30), Job)


def finished(store: JobStore, **changes: Any) -> Job:
    """A job with one result, where a worker would have put it."""
    job = store.submit(samples.job(**changes)).job
    claimed = store.claim(job.id, worker="w", lease_s=30)
    assert isinstance(claimed, Job)
    ref = result_ref("photomend", claimed, "image", "png")
    artifact = dataclasses.replace(samples.result().artifacts[0], ref=ref)
    result = dataclasses.replace(samples.result(), artifacts=(artifact,))
    return store.commit(job.id, epoch=1, result=result)


@pytest.mark.parametrize("forge", [another_callback, no_code, another_tenant])
def test_no_callback_goes_where_we_did_not_sign_that_it_should(
    store: JobStore, forge: Callable[[JobStore, Job], JobId]
) -> None:
    job_id = forge(store, finished(store, callback=samples.CALLBACK))
    sender = CallbackSender(
        store, Untouched(), sign=Untouched(), schedule_s=[1], timeout_s=1, threads=1,
        endpoints=Endpoints(at_a_time=1, shut_s=1),
    )  # fmt: skip
    assert sender.step() == 0
    sender.close()
    honest = finished(store, callback=samples.CALLBACK)
    assert {delivery.job_id for delivery in store.due_callbacks(limit=9, lease_s=30)} == {honest.id}
    told = store.callbacks(job_id)
    assert {(record.state, record.error) for record in told} == {(DeliveryState.UNDELIVERED, FORGED)}
    assert [record.event for record in told] == [CallbackEvent.STARTED, CallbackEvent.COMPLETED]


def test_an_event_that_nobody_asked_for_is_not_sent(store):
    wanted = dataclasses.replace(samples.CALLBACK, events=(CallbackEvent.FAILED,))
    job = finished(store, callback=wanted)
    store._redis.zadd(f"{PREFIX}outbox", {f"msg_{job.id.removeprefix('job_')}_completed": 1})
    assert store.due_callbacks(limit=9, lease_s=30) == ()
    assert store.counts()["undelivered"] == 1


class Bucket:
    """A storage that is asked to delete."""

    def __init__(self) -> None:
        self.deleted: list[ObjectRef] = []

    def delete(self, refs: Sequence[ObjectRef]) -> None:
        self.deleted += refs


def test_the_sweeper_deletes_a_jobs_own_results_and_nothing_else_that_its_record_names(store, capsys):
    job, neighbours = finished(store), finished(store)
    (own,) = job.result.artifacts
    start = f"results/local/{job.id}/"
    others = [
        neighbours.result.artifacts[0].ref,
        ObjectRef(bucket="masters", key=own.ref.key),
        ObjectRef(bucket="photomend", key=own.ref.key.replace("/local/", "/victim/")),
        ObjectRef(bucket="photomend", key=f"{start}1-00/../../../../masters/1.tif"),
        ObjectRef(bucket="photomend", key=start),
        ObjectRef(bucket="photomend", key=f"{start}1-00/image.png/../x.png"),
        ObjectRef(bucket="photomend", key=f"uploads/local/{new_upload_id()}"),
    ]
    artifacts = (own, *(dataclasses.replace(own, ref=ref) for ref in others))
    forged = result_to_json(dataclasses.replace(job.result, artifacts=artifacts))
    store._redis.hset(job_key(job.id), "result", forged)
    expire(store, job)
    bucket = Bucket()
    Sweeper(store, bucket).step()
    assert bucket.deleted == [own.ref]
    assert store.counts()["trash"] == 0, "what it named is not looked at for ever"
    assert "masters" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["{", "[]", '{"artifacts": [1]}', '{"artifacts": [{"ref": "s3://masters/1.tif"}]}'])
def test_a_result_that_nobody_can_read_is_not_in_the_sweepers_way(store, words):
    job, honest = finished(store), finished(store)
    for each in (job, honest):
        expire(store, each)
    store._redis.hset(job_key(job.id), "result", words)
    bucket = Bucket()
    Sweeper(store, bucket).step()
    assert bucket.deleted == [honest.result.artifacts[0].ref]
    assert store.counts()["trash"] == 0


@pytest.mark.parametrize(
    "place",
    [
        ObjectRef(bucket="masters", key="1923/wedding.tif"),
        upload_ref("masters", LOCAL_TENANT, "upl_" + "0" * 32),
        upload_ref("photomend", TenantId("victim"), "upl_" + "0" * 32),
        upload_ref("photomend", LOCAL_TENANT, "upl_" + "1" * 32),
    ],
)
def test_an_upload_is_where_uploads_are_whatever_its_record_says(store, make_store, place):
    upload_id = "upl_" + "0" * 32
    honest = Upload(
        id=upload_id, tenant=LOCAL_TENANT, ref=upload_ref("photomend", LOCAL_TENANT, upload_id),
        content_type="image/tiff", size=9,
    )  # fmt: skip
    registered = make_store(upload_ttl_s=1e-6).register_upload(honest)
    assert store.get_upload(upload_id, tenant=LOCAL_TENANT) == registered
    key = f"{PREFIX}upload:{upload_id}"
    store._redis.hset(key, "spec", json.dumps(json.loads(store._redis.hget(key, "spec")) | {"ref": place.uri}))
    with pytest.raises(UploadNotFound, match="not its place"):
        store.get_upload(upload_id, tenant=LOCAL_TENANT)
    assert store.sweep().uploads == 1
    bucket = Bucket()
    Sweeper(store, bucket).step()
    assert bucket.deleted == []
    assert store.counts()["trash"] == 0


def test_a_suspect_is_checked_too(store):
    job = store.submit(samples.job()).job
    store.claim(job.id, worker="w1", lease_s=30)
    store.release_worker("w1", charge=True, cause="SIGSEGV")
    another_input(store, job)
    assert store.claim_suspect(worker="w2", lease_s=30) is ClaimRefusal.FORGED


def test_without_a_secret_nothing_is_submitted_or_claimed(store, make_store):
    bare = make_store(signing_secret=None)
    with pytest.raises(NotSetUp, match="PHOTOMEND_SIGNING_SECRET"):
        bare.submit(samples.job())
    job = store.submit(samples.job()).job
    with pytest.raises(NotSetUp):
        bare.claim(job.id, worker="w", lease_s=30)


@pytest.mark.parametrize("command", ["api", "keeper", "worker"])
def test_no_process_starts_without_a_secret(command):
    words = [sys.executable, "-m", "photomend", command]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOMEND_")}
    ended = subprocess.run(words, env=env, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1
    assert "PHOTOMEND_SIGNING_SECRET is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="32"):
        JobsSettings(signing_secret=SecretStr("short"))
