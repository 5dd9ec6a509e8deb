"""The sweeper's side: lapsed leases, expiry of results, uploads and records; and lists."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest

from jobs.errors import InvalidRequest, JobNotFound
from jobs.model import LOCAL_TENANT, Job, Priority, Tenant, TenantId
from jobs.object_names import new_upload_id, result_ref, upload_ref
from jobs.states import JobState
from jobs.store import Idempotency, JobStore, Upload, UploadNotFound
from tests import samples
from tests.integration.jobs.conftest import LAPSED_S, LEASE_S, SWEPT_LEASE_S, expire, let_pass

MakeJob = Callable[..., Job]


def test_a_worker_that_falls_silent_loses_its_lease_and_the_job_runs_again(store: JobStore) -> None:
    job = store.submit(samples.job()).job
    assert isinstance(store.claim(job.id, worker="dead", lease_s=SWEPT_LEASE_S), Job)
    assert store.sweep().requeued == 0, "not before its time"
    let_pass(store, "leases", SWEPT_LEASE_S)
    assert store.sweep().requeued == 1
    assert store.sweep().requeued == 0, "once"
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (job.id,)
    heir = store.claim(job.id, worker="heir", lease_s=LEASE_S)
    assert isinstance(heir, Job)
    assert (heir.attempt, heir.epoch, heir.worker) == (2, 2, "heir")


def test_beats_keep_a_lease(store: JobStore) -> None:
    job = store.submit(samples.job()).job
    store.claim(job.id, worker="w", lease_s=SWEPT_LEASE_S)
    for _ in range(4):
        let_pass(store, "leases", 0.6 * SWEPT_LEASE_S)
        store.beat(job.id, epoch=1, lease_s=SWEPT_LEASE_S)
    assert store.sweep().requeued == 0
    let_pass(store, "leases", SWEPT_LEASE_S)
    assert store.sweep().requeued == 1, "the sweep would have noticed"


def test_one_sweep_does_no_more_than_its_limit(store: JobStore) -> None:
    for _ in range(5):
        job = store.submit(samples.job()).job
        store.claim(job.id, worker="w", lease_s=LAPSED_S)
    assert [store.sweep(limit=2).requeued for _ in range(4)] == [2, 2, 1, 0]


def test_two_sweepers_requeue_each_job_once(make_store: Callable[..., JobStore]) -> None:
    from tests.integration.jobs.test_admission import all_at_once

    store = make_store()
    for _ in range(30):
        job = store.submit(samples.job()).job
        store.claim(job.id, worker="w", lease_s=LAPSED_S)
    reports = all_at_once([store.sweep] * 8)
    assert sum(report.requeued for report in reports) == 30
    assert store.counts()["waiting_interactive"] == 30


# -- expiry


def test_a_finished_job_goes_through_expiry_to_nothing(make_store: Callable[..., JobStore]) -> None:
    store = make_store(result_ttl_s=0, record_ttl_s=0)
    job = store.submit(samples.job(callback=samples.CALLBACK), idempotency=Idempotency(key="k", fingerprint="f")).job
    claimed = store.claim(job.id, worker="w", lease_s=LEASE_S)
    assert isinstance(claimed, Job)
    ref = result_ref("photomend", claimed, "image", "png")
    artifact = dataclasses.replace(samples.result().artifacts[0], ref=ref)
    result = dataclasses.replace(samples.result(), artifacts=(artifact,))
    store.commit(job.id, epoch=1, result=result)
    assert store.sweep().expired == 1
    expired = store.get(job.id)
    assert (expired.state, expired.result) == (JobState.EXPIRED, result)

    # The record names the objects: it stays until they are deleted.
    (objects,) = store.expired_objects(limit=9)
    assert (objects.refs, objects.fault) == ((ref,), None)
    assert store.expired_objects(limit=9) == (), "held for the keeper that was told"
    assert store.sweep().retired == 0
    store.forget_objects([objects])
    store._redis.zadd("{photomend}:retire", {job.id: 1})
    assert store.sweep().retired == 1

    with pytest.raises(JobNotFound):
        store.get(job.id)
    assert store.list(LOCAL_TENANT).jobs == ()
    left = {key.split(":", 1)[1] for key in store._redis.keys("*")}
    assert {key for key in left if not key.startswith("idem:")} == {
        "load", "seq", "tally", "tenant:local", "used:local",
    }  # fmt: skip
    assert not store.submit(samples.job(), idempotency=Idempotency(key="k", fingerprint="other")).replayed


def test_results_and_records_stay_for_their_time(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.SUCCEEDED)
    assert not store.sweep()
    week, month = 7 * 86400, 30 * 86400
    assert store._redis.zscore("{photomend}:expiry", job.id) == pytest.approx(job.completed_at + week, abs=1)
    expire(store, job)
    assert store._redis.zscore("{photomend}:retire", job.id) == pytest.approx(job.completed_at + month, abs=1)


def test_nothing_that_is_unfinished_has_a_time_to_live(store: JobStore, in_state: MakeJob) -> None:
    for state in (JobState.QUEUED, JobState.PROCESSING):
        in_state(state, callback=samples.CALLBACK, deadline_s=99.0)
    mortal = {key for key in store._redis.keys("*") if store._redis.ttl(key) != -1}
    assert mortal == {"{photomend}:used:local"}, "the account of a day goes with the day"


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED])
def test_what_never_had_a_result_expires_without_objects(store: JobStore, in_state: MakeJob, state: JobState) -> None:
    job = in_state(state)
    expire(store, job)
    assert store.expired_objects(limit=9) == ()
    assert store.get(job.id).failure == job.failure


def test_a_replayed_sweep_of_the_same_job_does_nothing(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.EXPIRED)
    store._redis.zadd("{photomend}:expiry", {job.id: 1})
    assert store.sweep().expired == 0
    assert store.get(job.id).state is JobState.EXPIRED


# -- a tenant's own times


def test_a_tenant_s_things_are_kept_as_long_as_its_own_record_says(store: JobStore, in_state: MakeJob) -> None:
    hour = 3600
    acme, other = TenantId("acme"), TenantId("other")
    store.set_tenant(Tenant(id=acme, upload_ttl_s=hour, result_ttl_s=2 * hour, record_ttl_s=3 * hour))
    store.set_tenant(Tenant(id=other, record_ttl_s=60))
    jobs = {tenant: in_state(JobState.SUCCEEDED, tenant=tenant) for tenant in (acme, other)}
    for tenant, kept in ((acme, 2 * hour), (other, 7 * 86400)):
        expiry = store._redis.zscore("{photomend}:expiry", jobs[tenant].id)
        assert expiry == pytest.approx(jobs[tenant].completed_at + kept, abs=1), tenant
    for job in jobs.values():
        store._redis.zadd("{photomend}:expiry", {job.id: 1})
    swept_at = time.time()
    assert store.sweep().expired == 2
    retire = {tenant: store._redis.zscore("{photomend}:retire", job.id) for tenant, job in jobs.items()}
    assert retire[acme] == pytest.approx(jobs[acme].completed_at + 3 * hour, abs=1)
    assert retire[other] == pytest.approx(swept_at + 60, abs=60), "never before its results"
    assert store.register_upload(an_upload("acme")).expires_at == pytest.approx(time.time() + hour, abs=60)
    assert store.register_upload(an_upload("other")).expires_at == pytest.approx(time.time() + 86400, abs=60)
    store.set_tenant(Tenant(id=acme))
    assert store.register_upload(an_upload("acme")).expires_at == pytest.approx(time.time() + 86400, abs=60)


@pytest.mark.parametrize("kept", [0, -1, 3651 * 86400])
def test_a_time_that_is_none_is_refused(kept: int) -> None:
    with pytest.raises(InvalidRequest, match="kept for"):
        Tenant(id=LOCAL_TENANT, record_ttl_s=kept)


# -- uploads


def an_upload(tenant: str = "local") -> Upload:
    upload_id = new_upload_id()
    ref = upload_ref("photomend", TenantId(tenant), upload_id)
    return Upload(id=upload_id, tenant=TenantId(tenant), ref=ref, content_type="image/png", size=9)


def test_an_upload_is_known_to_its_tenant_until_it_expires(make_store: Callable[..., JobStore]) -> None:
    upload = an_upload()
    registered = make_store().register_upload(upload)
    assert registered.expires_at == pytest.approx(time.time() + 86400, abs=60)
    store = make_store(upload_ttl_s=1e-6)
    assert store.get_upload(upload.id, tenant=LOCAL_TENANT) == registered
    with pytest.raises(UploadNotFound):
        store.get_upload(upload.id, tenant=TenantId("other"))
    with pytest.raises(UploadNotFound):
        store.get_upload(new_upload_id(), tenant=LOCAL_TENANT)

    brief = an_upload()
    store.register_upload(brief)
    assert store.sweep().uploads == 1
    (expired,) = store.expired_objects(limit=9)
    assert expired.refs == (brief.ref,)
    store.forget_objects([expired])
    with pytest.raises(UploadNotFound):
        store.get_upload(brief.id, tenant=LOCAL_TENANT)
    assert store.counts()["trash"] == 0


def test_an_expired_upload_cannot_be_named_any_more_even_before_it_is_deleted(
    make_store: Callable[..., JobStore],
) -> None:
    store = make_store(upload_ttl_s=1e-6)
    upload = an_upload()
    store.register_upload(upload)
    assert store.sweep().uploads == 1
    with pytest.raises(UploadNotFound):
        store.get_upload(upload.id, tenant=LOCAL_TENANT)


# -- lists


def test_a_list_pages_through_all_jobs_newest_first(store: JobStore) -> None:
    jobs = [store.submit(samples.job()).job for _ in range(25)]
    store.submit(samples.job(tenant=TenantId("other")))
    for job in jobs[::3]:
        store.cancel(job.id, tenant=job.tenant)
    pages, cursor = [], None
    while True:
        page = store.list(LOCAL_TENANT, cursor=cursor, limit=10)
        pages.append([job.id for job in page.jobs])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [job_id for page in pages for job_id in page] == [job.id for job in reversed(jobs)]


def test_a_page_does_not_shift_when_newer_jobs_arrive(store: JobStore) -> None:
    jobs = [store.submit(samples.job()).job for _ in range(4)]
    first = store.list(LOCAL_TENANT, limit=2)
    store.submit(samples.job())
    second = store.list(LOCAL_TENANT, limit=2, cursor=first.next_cursor)
    assert [job.id for job in second.jobs] == [jobs[1].id, jobs[0].id]


@pytest.mark.parametrize("state", list(JobState))
def test_a_list_by_state_has_just_those(store: JobStore, in_state: MakeJob, state: JobState) -> None:
    made = {other: in_state(other) for other in JobState}
    assert [job.id for job in store.list(LOCAL_TENANT, state=state).jobs] == [made[state].id]


@pytest.mark.parametrize("cursor", ["-1", "inf", "1e9", "²", "", "9" * 40, "(1"])
def test_a_made_up_cursor_is_refused(store: JobStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        store.list(LOCAL_TENANT, cursor=cursor)


def test_a_list_has_the_jobs_of_a_period_and_periods_have_each_job_once(store: JobStore) -> None:
    jobs = [store.submit(samples.job()).job for _ in range(9)]
    third, sixth = jobs[3].created_at, jobs[6].created_at

    def listed(**period: float) -> list[str]:
        found, cursor = [], None
        while True:
            page = store.list(LOCAL_TENANT, cursor=cursor, limit=2, **period)
            found += [job.id for job in page.jobs]
            cursor = page.next_cursor
            if cursor is None:
                return found[::-1]

    ids = [job.id for job in jobs]
    assert listed(created_before=third) == ids[:3]
    assert listed(created_after=third, created_before=sixth) == ids[3:6]
    assert listed(created_after=sixth) == ids[6:]
    assert listed(created_after=sixth, created_before=third) == []
    assert listed(created_after=-1e11, created_before=1e11) == ids
    canceled = store.cancel(ids[4])
    page = store.list(LOCAL_TENANT, state=JobState.CANCELED, created_after=third, created_before=sixth)
    assert [job.id for job in page.jobs] == [canceled.id]
