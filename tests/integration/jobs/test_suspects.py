"""Jobs whose worker process died: put back at once, suspected, run alone, cleared or given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.errors import Fenced
from jobs.model import Job, JobId, Priority, TenantId
from jobs.states import MAX_DEATHS, JobState
from jobs.store import ClaimRefusal, JobStore, Slots
from tests import samples
from tests.integration.jobs.conftest import LAPSED_S, LEASE_S, SWEPT_LEASE_S, let_pass

WORKER = "host:17:aa"


def running(
    store: JobStore, count: int = 1, *, worker: str = WORKER, lease_s: float = LEASE_S, **changes: Any
) -> list[Job]:
    """Jobs that ``worker`` holds."""
    jobs = [store.submit(samples.job(**changes)).job for _ in range(count)]
    claimed = [store.claim(job.id, worker=worker, lease_s=lease_s) for job in jobs]
    assert all(isinstance(job, Job) for job in claimed)
    return [job for job in claimed if isinstance(job, Job)]


def suspect(store: JobStore, **changes: Any) -> Job:
    (job,) = running(store, **changes)
    store.release_worker(WORKER, charge=True, cause="SIGSEGV")
    return store.get(job.id)


def alone(store: JobStore, worker: str = WORKER) -> Job:
    """What a secluded worker is given."""
    job = store.claim_suspect(worker=worker, lease_s=LEASE_S)
    assert isinstance(job, Job), job
    return job


def sound(store: JobStore) -> bool:
    return list(store.doctor().examine()) == []


def test_a_dead_workers_jobs_wait_again_at_once_and_others_are_not_touched(store: JobStore) -> None:
    mine, theirs = running(store, 2), running(store, 1, worker="host:18:bb")
    assert store.release_worker(WORKER, charge=True) == {job.id: JobState.QUEUED for job in mine}
    assert store.get(theirs[0].id).state is JobState.PROCESSING
    again = store.get(mine[0].id)
    assert (again.attempt, again.is_suspect, again.deaths) == (1, False, ())
    assert store.take(credits=9, priority=Priority.INTERACTIVE) == tuple(job.id for job in mine)
    assert store.release_worker(WORKER, charge=True) == {}, "doing it again changes nothing"
    assert sound(store)


def test_a_worker_that_was_told_to_go_charges_nobody(store: JobStore) -> None:
    (job,) = running(store)
    store.release_worker(WORKER, charge=False)
    assert store.get(job.id).attempt == 0


def test_a_job_that_lapsed_and_is_anothers_now_is_not_released_by_its_first_workers_death(store: JobStore) -> None:
    (job,) = running(store)
    store.beat(job.id, epoch=1, lease_s=LAPSED_S, progress=None)
    assert store.sweep().requeued == 1
    heir = store.claim(job.id, worker="host:18:bb", lease_s=LEASE_S)
    assert isinstance(heir, Job)
    assert store.release_worker(WORKER, charge=True, cause="SIGSEGV") == {}
    assert store.get(job.id) == heir
    assert sound(store)


def test_a_released_job_is_fenced_against_the_writes_of_its_dead_worker(store: JobStore) -> None:
    (job,) = running(store)
    store.release_worker(WORKER, charge=True)
    with pytest.raises(Fenced):
        store.commit(job.id, epoch=job.epoch, result=samples.result())


def test_a_dead_workers_slots_are_not_counted_on(store: JobStore) -> None:
    store.publish_slots(Slots(worker=WORKER, queues=(), free=3, total=3))
    store.release_worker(WORKER, charge=True)
    assert store.slots() == ()


def test_jobs_of_a_process_that_died_by_its_own_fault_are_suspects_that_no_one_is_sent(store: JobStore) -> None:
    models = ({"name": "gfpgan-1.4", "sha256": "e2cd4703ab14f4d0"}, {"name": "unhashed"})
    store.publish_slots(Slots(worker=WORKER, queues=(), free=0, total=3, engine="torch 2.13 on cpu", models=models))
    jobs = running(store, 3)
    store.release_worker(WORKER, charge=True, cause="SIGSEGV")
    for job in map(store.get, (job.id for job in jobs)):
        assert (job.state, job.is_suspect) == (JobState.QUEUED, True)
        (death,) = job.deaths
        assert (death.cause, death.is_alone, death.worker, death.attempt) == ("SIGSEGV", False, WORKER, 1)
        assert (death.engine, death.weights) == ("torch 2.13 on cpu", ("gfpgan-1.4 e2cd4703ab14",))
        assert store.claim(job.id, worker="w2", lease_s=LEASE_S) is ClaimRefusal.SUSPECT
    assert store.take(credits=9, priority=Priority.INTERACTIVE) == ()
    assert store.counts()["waiting_suspect"] == 3
    assert sound(store)


def test_a_suspect_runs_alone_and_an_innocent_loses_the_suspicion_at_its_end(store: JobStore) -> None:
    suspects = running(store, 2)
    store.release_worker(WORKER, charge=True, cause="SIGABRT")
    first = alone(store)
    assert (first.id, first.is_suspect, first.attempt) == (suspects[0].id, True, 2)
    (other,) = [store.submit(samples.job()).job]
    assert store.claim(other.id, worker=WORKER, lease_s=LEASE_S) is ClaimRefusal.SECLUDED
    assert store.claim_suspect(worker=WORKER, lease_s=LEASE_S) is ClaimRefusal.NOT_ALONE
    assert sound(store)
    done = store.commit(first.id, epoch=first.epoch, result=samples.result())
    assert (done.state, done.is_suspect, len(done.deaths)) == (JobState.SUCCEEDED, False, 1)
    assert isinstance(store.claim(other.id, worker=WORKER, lease_s=LEASE_S), Job), "the worker takes others again"
    assert store.claim_suspect(worker=WORKER, lease_s=LEASE_S) is ClaimRefusal.NOT_ALONE
    assert sound(store)


def test_the_same_claim_of_a_suspect_repeated_is_granted_again_and_counted_once(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspect(store)
    monkeypatch.setattr("jobs.store.secrets.token_hex", lambda _: "the-same-call")
    assert alone(store) == alone(store)


def test_poison_is_declared_after_three_deaths_alone_and_told_once(store: JobStore) -> None:
    job = suspect(store, callback=samples.CALLBACK)
    for death in range(1, MAX_DEATHS + 1):
        assert alone(store, f"w{death}").id == job.id
        (state,) = store.release_worker(f"w{death}", charge=True, cause="SIGSEGV").values()
        assert state is (JobState.QUEUED if death < MAX_DEATHS else JobState.FAILED)
        assert sound(store)
    dead = store.get(job.id)
    assert dead.failure is not None
    assert (dead.failure.code, dead.attempt, dead.is_suspect) == ("poison", 4, False)
    assert [(d.is_alone, d.worker) for d in dead.deaths] == [(False, WORKER), (True, "w1"), (True, "w2"), (True, "w3")]
    assert dead.dead_at == pytest.approx(dead.completed_at)
    assert store.counts()["outbox"] == 2, "started and failed"
    assert store.claim_suspect(worker="w9", lease_s=LEASE_S) is ClaimRefusal.NONE


@pytest.mark.parametrize("way", ["killed from outside", "told to go", "lapsed", "released by itself"])
def test_what_is_not_its_own_fault_brings_no_suspect_nearer_to_poison(store: JobStore, way: str) -> None:
    job = suspect(store)
    for _ in range(MAX_DEATHS + 1):
        got = alone(store)
        if way == "lapsed":
            store.beat(got.id, epoch=got.epoch, lease_s=LAPSED_S, progress=None)
            assert store.sweep().requeued == 1
        elif way == "released by itself":
            store.release(got.id, epoch=got.epoch, charge=False)
        else:
            store.release_worker(WORKER, charge=way != "told to go")
        assert sound(store)
    still = store.get(job.id)
    assert (still.state, still.is_suspect, len(still.deaths)) == (JobState.QUEUED, True, 1)


def test_a_job_that_hangs_its_process_is_accused_and_its_neighbours_are_not(store: JobStore) -> None:
    guilty, neighbour = running(store, 2)
    store.release(neighbour.id, epoch=1, charge=False)
    accused = store.release(guilty.id, epoch=1, charge=True, cause="hang")
    assert accused.is_suspect
    assert [d.cause for d in accused.deaths] == ["hang"]
    assert not store.get(neighbour.id).is_suspect
    assert sound(store)


def test_a_lost_device_makes_a_suspect_and_never_poison(store: JobStore) -> None:
    (job,) = running(store)
    for _ in range(MAX_DEATHS + 2):
        accused = store.release(job.id, epoch=job.epoch, charge=True, cause="device_lost")
        assert (accused.state, accused.is_suspect, accused.deaths[-1].is_alone) == (JobState.QUEUED, True, False)
        assert sound(store)
        job = alone(store)


def test_who_died_alone_runs_after_those_who_may_be_innocent(store: JobStore) -> None:
    older, younger = running(store, 2)
    store.release_worker(WORKER, charge=True, cause="SIGSEGV")
    assert alone(store).id == older.id
    store.release_worker(WORKER, charge=True, cause="SIGSEGV")
    assert alone(store).id == younger.id


def test_suspects_of_all_tenants_have_their_turn(store: JobStore) -> None:
    for tenant in ("noisy", "noisy", "noisy", "quiet"):
        suspect(store, tenant=TenantId(tenant))
    order = []
    for _ in range(4):
        job = alone(store)
        order.append(job.tenant)
        store.commit(job.id, epoch=job.epoch, result=samples.result())
    assert "quiet" in order[:2]


def test_a_suspect_can_be_canceled_and_misses_its_deadline_as_any_other(store: JobStore) -> None:
    canceled, late = suspect(store), suspect(store, deadline_s=60.0)
    assert store.cancel(canceled.id, tenant=canceled.tenant).state is JobState.CANCELED
    store._redis.hset(f"{{photomend}}:job:{late.id}", "deadline", "1")
    assert store.claim_suspect(worker=WORKER, lease_s=LEASE_S) is ClaimRefusal.NONE
    assert store.get(late.id).state is JobState.FAILED
    assert store.counts()["waiting_suspect"] == 0
    assert sound(store)


# -- a worker for them


def slots(worker: str = WORKER, **changes: Any) -> Slots:
    return Slots(worker=worker, queues=(), **({"free": 1, "total": 2} | changes))


def test_a_chosen_worker_hears_of_it_and_is_given_nothing_else(store: JobStore) -> None:
    suspect(store)
    assert store.publish_slots(slots()) is False
    assert store.seclude(WORKER, limit=1, ttl_s=30.0)
    assert not store.seclude("host:18:bb", limit=1, ttl_s=30.0), "one at a time"
    assert store.counts()["secluded"] == 1
    other = store.submit(samples.job()).job
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (other.id,)
    assert store.claim(other.id, worker=WORKER, lease_s=LEASE_S) is ClaimRefusal.SECLUDED
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (other.id,), "back in its place, to be sent at once"
    assert store.publish_slots(slots(free=0)) is True
    assert sound(store)
    job = alone(store)
    assert store.publish_slots(slots(free=0)) is True
    store.commit(job.id, epoch=job.epoch, result=samples.result())
    assert store.publish_slots(slots()) is False


def test_a_chosen_worker_is_let_off_when_no_suspect_waits_any_more(store: JobStore) -> None:
    job = suspect(store)
    store.seclude(WORKER, limit=1, ttl_s=30.0)
    store.cancel(job.id, tenant=job.tenant)
    assert store.publish_slots(slots()) is False
    assert store.counts()["secluded"] == 0


def test_a_chosen_worker_that_falls_silent_or_leaves_makes_room_for_another(store: JobStore) -> None:
    suspect(store)
    assert store.seclude("silent", limit=1, ttl_s=0.0)
    assert store.seclude("leaving", limit=1, ttl_s=30.0)
    store.withdraw_slots("leaving")
    assert store.seclude("dying", limit=1, ttl_s=30.0)
    store.release_worker("dying", charge=True)
    assert store.seclude(WORKER, limit=1, ttl_s=30.0)


def test_what_was_handed_back_is_sent_elsewhere_at_once(store: JobStore) -> None:
    job = store.submit(samples.job()).job
    assert not store.hand_back(job.id), "it was not on its way"
    store.take(credits=1, priority=Priority.INTERACTIVE)
    assert store.hand_back(job.id)
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (job.id,)
    assert not store.hand_back(JobId("job_" + "0" * 32))


# -- the cost


def test_a_workers_death_costs_as_much_as_it_held_however_many_jobs_run_elsewhere(
    store: JobStore, record_property: Callable[[str, object], None]
) -> None:
    """An index by worker: among 10,000 leases, the commands inside the script are those for its own eight."""

    def commands() -> int:
        stats = store._redis.info("commandstats")
        return sum(entry["calls"] for name, entry in stats.items() if name not in {"cmdstat_info", "cmdstat_evalsha"})

    def cost() -> int:
        running(store, 8)
        before = commands()
        assert len(store.release_worker(WORKER, charge=True, cause="SIGSEGV")) == 8
        return commands() - before

    cost()
    few = cost()
    with store._redis.pipeline() as pipe:
        pipe.zadd("{photomend}:leases", {f"job_{n:032x}": 9e9 for n in range(10_000)})
        pipe.execute()
    many = cost()
    record_property("commands", many)
    assert many == few


@pytest.mark.parametrize("teller", ["the process itself", "its supervisor"])
def test_a_process_whose_leases_lapsed_before_its_end_was_known_is_held_against_them(
    store: JobStore, teller: str
) -> None:
    job, taken = running(store, 2, lease_s=SWEPT_LEASE_S)
    let_pass(store, "leases", LEASE_S)
    assert store.sweep().requeued == 2
    assert isinstance(store.claim(taken.id, worker="host:18:bb", lease_s=LEASE_S), Job)

    def tell() -> None:
        if teller == "its supervisor":
            store.release_worker(WORKER, charge=True, cause="hang")
        else:
            store.release(job.id, epoch=job.epoch, charge=True, cause="hang")

    tell()
    accused = store.get(job.id)
    assert (accused.state, accused.is_suspect, accused.attempt) == (JobState.QUEUED, True, 1)
    assert [(death.cause, death.worker) for death in accused.deaths] == [("hang", WORKER)]
    assert not store.get(taken.id).is_suspect, "another has it by now"
    store.release_worker(WORKER, charge=True, cause="hang")
    assert len(store.get(job.id).deaths) == 1, "both may tell it"
    assert store.take(credits=9, priority=Priority.INTERACTIVE) == ()
    assert alone(store, "host:19:cc").id == job.id
    assert sound(store)


def test_the_third_death_alone_is_poison_also_when_its_lease_lapsed_first(store: JobStore) -> None:
    job = suspect(store)
    for death in range(MAX_DEATHS):
        assert isinstance(store.claim_suspect(worker=f"w{death}", lease_s=SWEPT_LEASE_S), Job)
        let_pass(store, "leases", LEASE_S)
        assert store.sweep().requeued == 1
        store.release_worker(f"w{death}", charge=True, cause="SIGSEGV")
    dead = store.get(job.id)
    assert (dead.state, dead.failure and dead.failure.code) == (JobState.FAILED, "poison")
    assert sound(store)
