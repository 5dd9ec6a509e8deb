"""Hand-made corruption of every kind is named, mended, and the job ends as it should."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.doctor import Doctor
from jobs.model import Job, Priority
from jobs.states import JobState
from jobs.store import ClaimRefusal, JobStore
from tests import samples
from tests.integration.jobs.conftest import LEASE_S

P = "{photomend}:"
CORRUPTIONS: dict[str, tuple[JobState, Callable[[JobStore, Job], object]]] = {
    "queued, waits nowhere": (
        JobState.QUEUED,
        lambda s, j: s._redis.zrem(f"{P}backlog:interactive:local", j.id) and s._redis.delete(f"{P}ring:interactive"),
    ),
    "queued, tenant not in the ring": (JobState.QUEUED, lambda s, j: s._redis.delete(f"{P}ring:interactive")),
    "queued, in backlog and sent": (JobState.QUEUED, lambda s, j: s._redis.zadd(f"{P}sent:interactive", {j.id: 9e9})),
    "queued, in the wrong lane": (JobState.QUEUED, lambda s, j: s._redis.zadd(f"{P}sent:batch", {j.id: 1})),
    "queued, deadline forgotten": (JobState.QUEUED, lambda s, j: s._redis.delete(f"{P}deadlines")),
    "queued, has a lease": (JobState.QUEUED, lambda s, j: s._redis.zadd(f"{P}leases", {j.id: 1})),
    "queued, would vanish": (JobState.QUEUED, lambda s, j: s._redis.expire(f"{P}job:{j.id}", 100)),
    "queued, not listed": (JobState.QUEUED, lambda s, j: s._redis.delete(f"{P}index:local:queued")),
    "processing, no lease": (JobState.PROCESSING, lambda s, j: s._redis.delete(f"{P}leases")),
    "processing, still sent": (JobState.PROCESSING, lambda s, j: s._redis.zadd(f"{P}sent:interactive", {j.id: 1})),
    "processing, listed twice": (
        JobState.PROCESSING,
        lambda s, j: s._redis.zadd(f"{P}index:local:failed", {j.id: 1}),
    ),
    "processing, in nobody's hands": (JobState.PROCESSING, lambda s, j: s._redis.delete(f"{P}held:w1")),
    "succeeded, still in its worker's hands": (JobState.SUCCEEDED, lambda s, j: s._redis.sadd(f"{P}held:w1", j.id)),
    "processing, in two workers' hands": (JobState.PROCESSING, lambda s, j: s._redis.sadd(f"{P}held:w2", j.id)),
    "failed, among the dead by mistake": (JobState.FAILED, lambda s, j: s._redis.zadd(f"{P}dead", {j.id: 1})),
    "failed, still a suspect": (JobState.FAILED, lambda s, j: s._redis.hset(f"{P}job:{j.id}", "suspect", "1")),
    "succeeded, never expires": (JobState.SUCCEEDED, lambda s, j: s._redis.delete(f"{P}expiry")),
    "expired, never retires": (JobState.EXPIRED, lambda s, j: s._redis.delete(f"{P}retire")),
}


def names(store: JobStore, *, repair: bool = False) -> list[str]:
    return [f"{v.subject}: {v.problem}" for v in Doctor(store._redis).examine(repair=repair)]


@pytest.mark.parametrize("state", list(JobState))
def test_a_sound_store_has_nothing_to_mend(store: JobStore, in_state: Callable[..., Job], state: JobState) -> None:
    in_state(state, deadline_s=900.0)
    assert names(store) == []


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_corruption_is_named_and_mended(store: JobStore, in_state: Callable[..., Job], kind: str) -> None:
    state, corrupt = CORRUPTIONS[kind]
    job = in_state(state, deadline_s=900.0)
    corrupt(store, job)
    found = names(store)
    assert found
    assert all(job.id in name for name in found)
    assert names(store) == found, "naming changes nothing"
    assert names(store, repair=True) == found
    assert names(store) == []
    assert store.get(job.id) == job, "the record is right; the indices follow it"


def brought_low(store: JobStore, deaths: int) -> Job:
    """A job under which ``deaths`` processes died."""
    job = store.submit(samples.job()).job
    for death in range(deaths):
        if death:
            assert isinstance(store.claim_suspect(worker="w1", lease_s=LEASE_S), Job)
        else:
            store.claim(job.id, worker="w1", lease_s=LEASE_S)
        store.release_worker("w1", charge=True, cause="SIGSEGV")
    return store.get(job.id)


SUSPICIONS: dict[str, tuple[int, Callable[[JobStore, Job], object]]] = {
    "a suspect that waits nowhere": (1, lambda s, j: s._redis.delete(f"{P}backlog:suspect:local", f"{P}ring:suspect")),
    "a suspect whose tenant is not served": (1, lambda s, j: s._redis.delete(f"{P}ring:suspect")),
    "a suspect among the others": (1, lambda s, j: s._redis.zadd(f"{P}backlog:interactive:local", {j.id: 1})),
    "a suspect that was sent": (1, lambda s, j: s._redis.zadd(f"{P}sent:interactive", {j.id: 1})),
    "a suspect that seems sent": (
        1,
        lambda s, j: s._redis.delete(f"{P}backlog:suspect:local") and s._redis.zadd(f"{P}sent:suspect", {j.id: 1}),
    ),
    "a suspect with its place and another": (1, lambda s, j: s._redis.zadd(f"{P}sent:suspect", {j.id: 1})),
    "a dead letter that is not listed": (4, lambda s, j: s._redis.delete(f"{P}dead")),
}


@pytest.mark.parametrize("kind", SUSPICIONS)
def test_each_corruption_of_suspects_and_dead_letters_is_named_and_mended(store: JobStore, kind: str) -> None:
    deaths, corrupt = SUSPICIONS[kind]
    job = brought_low(store, deaths)
    assert names(store) == []
    corrupt(store, job)
    found = names(store, repair=True)
    assert found
    assert all(job.id in name for name in found)
    assert names(store) == []
    if deaths == 1:
        assert store.claim_suspect(worker="w2", lease_s=LEASE_S) == store.get(job.id)
    else:
        assert store._redis.zscore(f"{P}dead", job.id) == pytest.approx(job.dead_at)


def test_a_suspect_that_others_could_join_is_named_and_secluded_again(store: JobStore) -> None:
    job = brought_low(store, 1)
    store.claim_suspect(worker="w2", lease_s=LEASE_S)
    store._redis.delete(f"{P}secluded")
    assert [name.split(": ")[0] for name in names(store, repair=True)] == [job.id]
    assert names(store) == []
    assert store.claim(store.submit(samples.job()).job.id, worker="w2", lease_s=LEASE_S) is ClaimRefusal.SECLUDED


def test_a_worker_that_is_kept_for_nothing_is_named_and_let_off(store: JobStore) -> None:
    store._redis.zadd(f"{P}secluded", {"w9": float("inf")})
    assert names(store, repair=True) == ["w9: is kept for a suspect that it does not have"]
    assert names(store) == []


def test_a_mended_job_is_served_again(store: JobStore, in_state: Callable[..., Job]) -> None:
    job = in_state(JobState.QUEUED)
    store._redis.delete(f"{P}backlog:interactive:local", f"{P}ring:interactive")
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == ()
    names(store, repair=True)
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (job.id,)


@pytest.mark.parametrize("state", list(JobState))
def test_entries_of_a_lost_record_are_dropped(store: JobStore, in_state: Callable[..., Job], state: JobState) -> None:
    job = in_state(state, deadline_s=900.0)
    store._redis.delete(f"{P}job:{job.id}")
    found = names(store, repair=True)
    assert found
    assert all("without a record" in name or "left over" in name for name in found)
    assert names(store) == []


def test_what_no_keeper_does_is_named(store: JobStore, in_state: Callable[..., Job]) -> None:
    doctor = Doctor(store._redis)
    job = in_state(JobState.PROCESSING, callback=samples.CALLBACK)
    assert doctor.overdue() == ()
    for index in ("outbox", "leases"):
        (member,) = store._redis.zrange(f"{P}{index}", 0, -1)
        store._redis.zincrby(f"{P}{index}", -1000, member)
    found = {v.subject: v.problem for v in doctor.overdue()}
    assert found[f"msg_{job.id[4:]}_started"] == "callback is due for 1000 s"
    assert found[job.id].startswith("lease has lapsed for 9")
