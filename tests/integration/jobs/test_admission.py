"""Submit: idempotent, within quota, all or nothing, also when many come at once."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.admission import Load
from jobs.backlog import BYTES_PER_MEGAPIXEL
from jobs.errors import (
    IdempotencyMismatch,
    IllegalMove,
    InvalidRequest,
    JobNotFound,
    JobsError,
    Overloaded,
    QuotaExceeded,
)
from jobs.kinds import Kind, options_for
from jobs.model import LOCAL_TENANT, Job, Priority, Tenant, TenantId, UrlRef, new_job_id
from jobs.object_names import new_upload_id, upload_ref
from jobs.states import JobState
from jobs.store import Idempotency, JobStore, Submitted, Upload
from tests import samples

KEY = Idempotency(key='"8e03978e-40d5-43dd-bc93-6894a57f9324"', fingerprint="f1")


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls gave or raised, started together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except JobsError as err:
            return err

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_the_same_key_gives_the_same_job(store: JobStore) -> None:
    first = store.submit(samples.job(), idempotency=KEY)
    again = store.submit(samples.job(), idempotency=KEY)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.job == first.job
    assert store.counts()["waiting_interactive"] == 1


def test_the_same_key_with_another_request_is_refused(store: JobStore) -> None:
    store.submit(samples.job(), idempotency=KEY)
    with pytest.raises(IdempotencyMismatch):
        store.submit(samples.job(), idempotency=Idempotency(key=KEY.key, fingerprint="f2"))
    assert store.counts()["waiting_interactive"] == 1


def test_keys_of_two_tenants_are_two_keys(store: JobStore) -> None:
    for tenant in ("anna", "bert"):
        assert not store.submit(samples.job(tenant=TenantId(tenant)), idempotency=KEY).replayed


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": Kind.DETECT, "options": options_for(Kind.DETECT, {"faces": ["g5k2p", [1, 2, 30, 40]]})},
        {"options": options_for(Kind.RESTORE, {"scale": 3, "seed": 7, "outputs": ["mask", "image"]})},
        {"input": UrlRef(uri="https://example.com/a.jpg?x=1"), "priority": Priority.BATCH, "metadata": {"ä": "ü"}},
        {"callback": samples.CALLBACK, "deadline_s": 0.1 + 0.2, "input_bytes": 3, "input_etag": "e", "input_type": "t"},
        {"input_sha256": "ab" * 32, "request_id": "req_1", "tenant": TenantId("acme"), "replay_of": new_job_id()},
    ],
)
def test_a_submit_tells_the_job_as_its_record_reads(store: JobStore, changes: dict[str, Any]) -> None:
    submitted = store.submit(samples.job(**changes))
    assert submitted == Submitted(job=store.get(submitted.job.id), replayed=False)


def test_a_replay_shows_the_job_as_it_is_now(store: JobStore) -> None:
    job = store.submit(samples.job(), idempotency=KEY).job
    store.cancel(job.id, tenant=job.tenant)
    assert store.submit(samples.job(), idempotency=KEY).job.state is JobState.CANCELED


def test_a_key_is_forgotten_after_its_time(make_store: Callable[..., JobStore]) -> None:
    store = make_store(idempotency_ttl_s=1)
    store.submit(samples.job(), idempotency=KEY)
    (entry,) = store._redis.keys("*idem*")
    assert 0 < store._redis.pttl(entry) <= 1000
    store._redis.delete(entry)  # what Redis does when that time is over
    assert not store.submit(samples.job(), idempotency=KEY).replayed


def test_a_submit_whose_answer_was_lost_may_be_repeated(store: JobStore) -> None:
    """The client retries the same call by itself; with and without a key it is one job, and none of the quota twice."""
    job, keyed = samples.job(), samples.job()
    assert store.submit(job) == store.submit(job)
    assert store.submit(keyed, idempotency=KEY) == store.submit(keyed, idempotency=KEY)
    assert store.counts()["waiting_interactive"] == 2


def test_fifty_parallel_submits_with_one_key_are_one_job(store: JobStore) -> None:
    for round_ in range(4):
        key = Idempotency(key=f"round-{round_}", fingerprint="f")
        outcomes = all_at_once([lambda key=key: store.submit(samples.job(), idempotency=key)] * 50)
        assert all(isinstance(outcome, Submitted) for outcome in outcomes)
        assert len({outcome.job.id for outcome in outcomes}) == 1
        assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert store.counts()["waiting_interactive"] == 4


def test_quota_is_not_overshot_by_sixty_four_threads(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_waiting_jobs=40)
    outcomes = all_at_once([lambda: [_try(store) for _ in range(2)]] * 64)
    accepted = [outcome for pair in outcomes for outcome in pair if isinstance(outcome, Submitted)]
    assert len(accepted) == 40
    assert store.counts()["waiting_interactive"] == 40


def _try(store: JobStore, tenant: TenantId = LOCAL_TENANT) -> Submitted | QuotaExceeded:
    try:
        return store.submit(samples.job(tenant=tenant))
    except QuotaExceeded as err:
        return err


def test_all_tenants_together_do_not_overshoot_either(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_unfinished_jobs=40)
    tenants = [TenantId(f"t{n}") for n in range(8)]

    def submit(tenant: TenantId) -> list[Submitted | QuotaExceeded]:
        return [_try(store, tenant) for _ in range(4)]

    outcomes = all_at_once([functools.partial(submit, tenant) for tenant in tenants * 2])
    answers = [outcome for several in outcomes for outcome in several]
    assert sum(isinstance(answer, Submitted) for answer in answers) == 40
    assert {type(answer) for answer in answers} == {Submitted, Overloaded}
    assert store.load().jobs == 40


def test_what_is_unfinished_and_how_fast_it_gets_done_is_measured(store: JobStore) -> None:
    """A megapixel of work comes with each of these jobs, and a base of one."""
    assert store.load() == Load(jobs=0, work=0.0, throughput=0.0)
    jobs = [store.submit(samples.job(input_bytes=BYTES_PER_MEGAPIXEL)).job for _ in range(4)]
    assert (store.load().jobs, store.load().work) == (4, 8.0)
    store.cancel(jobs[0].id)
    assert (store.load().work, store.load().throughput) == (6.0, 0.0)
    began = time.monotonic()
    for job in jobs[1:3]:
        store.claim(job.id, worker="w", lease_s=30)
        store.commit(job.id, epoch=1, result=samples.result())
    took_s = time.monotonic() - began
    load = store.load()
    assert (load.jobs, load.work) == (1, 2.0)
    # Four in at least that time; Redis' clock began a little earlier.
    assert 0 < load.throughput <= 4.0 / took_s * 1.5
    store.claim(jobs[3].id, worker="w", lease_s=30)
    store.release(jobs[3].id, epoch=1, charge=False)
    assert (store.load().jobs, store.load().work) == (1, 2.0), "what is tried again came once"


def known_load(store: JobStore, **facts: float) -> None:
    """As if the fleet had been measured for long."""
    now = store._redis.time()[0]
    store._redis.hset("{photomend}:load", mapping={"seen": 1e6, "at": now, **facts})


def test_whoever_is_refused_is_told_to_wait_by_the_backlog(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_unfinished_jobs=100, max_waiting_jobs=10)
    for _ in range(10):
        store.submit(samples.job())
    known_load(store, jobs=99, work=400.0, rate=0.5)
    with pytest.raises(QuotaExceeded) as own:
        store.submit(samples.job())
    # 400 of work at 0.5 a second take 800 s, in which ten of its own end.
    assert type(own.value) is QuotaExceeded
    assert own.value.retry_after_s == pytest.approx(80, rel=0.2)
    known_load(store, jobs=100, work=400.0, rate=0.5)
    other = samples.job(tenant=TenantId("other"))
    with pytest.raises(Overloaded) as all_of_them:
        store.submit(other)
    assert all_of_them.value.retry_after_s == pytest.approx(80, rel=0.2)  # a tenth of it
    known_load(store, jobs=100, work=400.0, rate=0.0)
    with pytest.raises(Overloaded) as unknown:
        store.submit(other)
    assert unknown.value.retry_after_s == 30
    known_load(store, jobs=100, work=400.0, rate=1e-3)
    with pytest.raises(Overloaded) as stuck:
        store.submit(other)
    assert stuck.value.retry_after_s == 3600


def test_quota_counts_what_is_unfinished_and_each_tenant_by_itself(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_waiting_jobs=2)
    first, second = (store.submit(samples.job()).job for _ in range(2))
    claimed = store.claim(first.id, worker="w", lease_s=30)
    assert isinstance(claimed, Job)
    with pytest.raises(QuotaExceeded):
        store.submit(samples.job())
    store.submit(samples.job(tenant=TenantId("other")))
    store.commit(first.id, epoch=1, result=samples.result())
    store.submit(samples.job())
    store.cancel(second.id, tenant=second.tenant)
    store.submit(samples.job())
    with pytest.raises(QuotaExceeded):
        store.submit(samples.job())


def test_an_upload_that_a_job_waits_for_does_not_expire(make_store: Callable[..., JobStore]) -> None:
    store = make_store(upload_ttl_s=1e-6)
    tenant = TenantId("local")
    upload_id = new_upload_id()
    ref = upload_ref("photomend", tenant, upload_id)
    upload = Upload(id=upload_id, tenant=tenant, ref=ref, content_type="image/png", size=9)
    store.register_upload(upload)
    jobs = [store.submit(samples.job(input=ref)).job for _ in range(2)]
    for job in jobs:
        assert store.sweep().uploads == 0
        assert store.get_upload(upload_id, tenant=tenant).ref == ref
        store.cancel(job.id, tenant=tenant)
    assert store.sweep().uploads == 1
    (expired,) = store.expired_objects(limit=9)
    assert expired.refs == (ref,)


def test_priorities_wait_in_lanes_of_their_own(store: JobStore) -> None:
    jobs = {p: store.submit(samples.job(priority=p)).job for p in Priority}
    for priority, job in jobs.items():
        assert store.take(credits=9, priority=priority) == (job.id,)
        assert store.get(job.id).priority is priority


def test_a_tenants_own_quota_counts_before_the_installations(store: JobStore) -> None:
    anna = TenantId("anna")
    assert store.tenant(anna) == Tenant(id=anna)
    store.set_tenant(Tenant(id=anna, weight=2.5, max_unfinished=1))
    assert store.tenant(anna) == Tenant(id=anna, weight=2.5, max_unfinished=1)
    store.submit(samples.job(tenant=anna))
    with pytest.raises(QuotaExceeded):
        store.submit(samples.job(tenant=anna))
    store.set_tenant(Tenant(id=anna))
    store.submit(samples.job(tenant=anna))


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"weight": -1}, {"weight": float("nan")}, {"max_unfinished": -1}])
def test_an_entitlement_that_would_stop_the_fleet_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Tenant(id=TenantId("a"), **wrong)


def test_a_replay_is_a_new_job_that_names_the_old_one(store: JobStore) -> None:
    old = store.submit(samples.job(callback=samples.CALLBACK, metadata={"a": "b"}, deadline_s=99.0)).job
    with pytest.raises(IllegalMove):
        store.replay(old.id)
    failed = store.fail(old.id, epoch=None, failure=samples.FAILURE)
    with pytest.raises(JobNotFound):
        store.replay(old.id, tenant=TenantId("other"))
    again = store.replay(old.id, tenant=old.tenant, idempotency=KEY).job
    assert again.replay_of == old.id
    same = ("input", "options", "priority", "callback", "metadata", "deadline_s", "tenant")
    assert [getattr(again, name) for name in same] == [getattr(old, name) for name in same]
    assert (again.state, again.failure, again.attempt) == (JobState.QUEUED, None, 0)
    marked = dataclasses.replace(failed, replayed_as=again.id, revision=failed.revision + 1)
    assert store.get(old.id) == marked, "the old one stays as it ended, and says so"
    assert store.replay(old.id, idempotency=KEY).job == again
