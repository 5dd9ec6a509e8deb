"""The feeder's side: fairness between tenants, sending again, counts, and what workers say of themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.backlog import actual_cost, estimated_cost
from jobs.model import Job, Priority, Tenant, TenantId
from jobs.store import JobStore, Slots
from tests import samples
from tests.fleet import wait_for
from tests.integration.jobs.conftest import let_pass

BATCH = Priority.BATCH
MB = 1_000_000


def submit(store: JobStore, tenant: str, count: int, *, input_bytes: int | None = None) -> list[Job]:
    wish = {"tenant": TenantId(tenant), "priority": BATCH, "input_bytes": input_bytes}
    return [store.submit(samples.job(**wish)).job for _ in range(count)]


def served(store: JobStore, credits: int) -> list[str]:
    """Whose jobs were taken, in order, one credit at a time, as a busy fleet hands them out."""
    taken = [job_id for _ in range(credits) for job_id in store.take(credits=1, priority=BATCH)]
    return [store.get(job_id).tenant for job_id in taken]


def test_a_tenants_own_jobs_come_in_the_order_of_submission(store: JobStore) -> None:
    jobs = submit(store, "anna", 20)
    assert store.take(credits=7, priority=BATCH) + store.take(credits=99, priority=BATCH) == tuple(j.id for j in jobs)
    assert store.take(credits=1, priority=BATCH) == ()


def test_a_quiet_tenant_does_not_wait_behind_a_noisy_one(store: JobStore) -> None:
    submit(store, "noisy", 300)
    assert set(served(store, 50)) == {"noisy"}
    submit(store, "quiet", 3)
    assert Counter(served(store, 6))["quiet"] == 3


def test_equal_tenants_get_equal_shares_whatever_their_backlogs(store: JobStore) -> None:
    for tenant, count in (("a", 200), ("b", 60), ("c", 60)):
        submit(store, tenant, count)
    assert Counter(served(store, 120)) == {"a": 40, "b": 40, "c": 40}


def test_shares_are_of_cost_not_of_jobs(store: JobStore) -> None:
    submit(store, "scans", 100, input_bytes=39 * 400_000)  # cost 40
    submit(store, "snaps", 100, input_bytes=3 * 400_000)  # cost 4
    shares = Counter(served(store, 66))
    assert shares["snaps"] == pytest.approx(10 * shares["scans"], abs=6)


def test_a_heavier_tenant_gets_more(store: JobStore) -> None:
    store.set_tenant(Tenant(id=TenantId("big"), weight=3))
    submit(store, "big", 100)
    submit(store, "small", 100)
    shares = Counter(served(store, 80))
    assert shares["big"] == pytest.approx(60, abs=1)


def test_idling_saves_nothing_up(store: JobStore) -> None:
    submit(store, "early", 1)
    served(store, 1)
    submit(store, "steady", 100)
    served(store, 50)
    submit(store, "early", 50)
    assert Counter(served(store, 20))["early"] == pytest.approx(10, abs=1)


def test_leaving_and_coming_back_gains_nothing(store: JobStore) -> None:
    """A tenant that submits one job at a time, each when the last was taken, must not be served first every time."""
    submit(store, "steady", 100)
    order = []
    for _ in range(20):
        if not store._redis.exists("{photomend}:backlog:batch:trickle"):
            submit(store, "trickle", 1)
        order += served(store, 1)
    assert Counter(order) == {"trickle": 10, "steady": 10}


def test_what_a_job_really_cost_is_charged_when_it_is_known(store: JobStore) -> None:
    assert estimated_cost(None) == 2.0
    huge = samples.result(width=10_000, height=10_000, faces=20)
    assert actual_cost(huge) == 111.0
    submit(store, "bomb", 60)
    submit(store, "plain", 60)
    assert served(store, 2) == ["bomb", "plain"]
    first = next(j for j in store.list(TenantId("bomb"), limit=60).jobs[::-1])
    claimed = store.claim(first.id, worker="w", lease_s=30)
    assert isinstance(claimed, Job)
    store.commit(first.id, epoch=1, result=huge)
    assert set(served(store, 50)) == {"plain"}, "the bomb's share is used up for (111 - 2) / 2 jobs"


def test_the_charge_reaches_a_tenant_that_has_nothing_waiting(store: JobStore) -> None:
    (job,) = submit(store, "bomb", 1)
    served(store, 1)
    store.claim(job.id, worker="w", lease_s=30)
    store.commit(job.id, epoch=1, result=samples.result(width=10_000, height=10_000, faces=0))
    submit(store, "plain", 30)
    submit(store, "bomb", 30)
    assert set(served(store, 30)) == {"plain"}


def test_a_take_without_credits_takes_nothing(store: JobStore) -> None:
    submit(store, "a", 1)
    assert store.take(credits=0, priority=BATCH) == store.take(credits=-3, priority=BATCH) == ()


def test_an_entry_without_a_record_is_dropped(store: JobStore) -> None:
    lost, kept = submit(store, "a", 2)
    store._redis.delete(f"{{photomend}}:job:{lost.id}")
    assert store.take(credits=5, priority=BATCH) == (kept.id,)


# -- sending again


def test_a_sent_job_that_nobody_claims_is_sent_again_once_each_time(make_store: Callable[..., JobStore]) -> None:
    store = make_store(resend_after_s=60.0)
    jobs = submit(store, "a", 3)
    store.take(credits=3, priority=BATCH)
    assert store.overdue_sent(limit=9) == ()
    store.claim(jobs[0].id, worker="w", lease_s=30)
    store.cancel(jobs[1].id, tenant=jobs[1].tenant)
    let_pass(store, "sent:batch", 60.0)
    assert store.overdue_sent(limit=9, priorities=[Priority.INTERACTIVE]) == ()
    assert store.overdue_sent(limit=9) == ((jobs[2].id, BATCH),)
    assert store.overdue_sent(limit=9) == (), "marked as sent now"
    assert store.counts()["sent_batch"] == 1


def test_no_more_are_sent_again_than_asked_for(make_store: Callable[..., JobStore]) -> None:
    store = make_store(resend_after_s=60.0)
    for priority in Priority:
        for _ in range(3):
            store.submit(samples.job(priority=priority))
        store.take(credits=3, priority=priority)
        let_pass(store, f"sent:{priority}", 60.0)
    assert len(store.overdue_sent(limit=4)) == 4


def test_a_job_may_be_claimed_before_it_was_sent(store: JobStore) -> None:
    """A forged or very late message: the record grants the claim, and the feeder does not send the job any more."""
    (job,) = submit(store, "a", 1)
    assert isinstance(store.claim(job.id, worker="w", lease_s=30), Job)
    assert store.take(credits=1, priority=BATCH) == ()


# -- counts and slots


def test_counts_follow_a_job(store: JobStore) -> None:
    (job,) = submit(store, "a", 1)
    seen = [store.counts()]
    store.take(credits=1, priority=BATCH)
    seen.append(store.counts())
    store.claim(job.id, worker="w", lease_s=30)
    seen.append(store.counts())
    store.release(job.id, epoch=1, charge=True)
    seen.append(store.counts())
    names = [{name for name, count in counts.items() if count} for counts in seen]
    assert names == [{"waiting_batch"}, {"sent_batch"}, {"processing"}, {"waiting_batch"}]


def test_workers_slots_are_known_until_they_fall_silent_or_leave(store: JobStore) -> None:
    one = Slots(
        worker="w1", queues=("restore.batch",), free=2, total=4, models=({"name": "gfpgan-1.4"},), engine="torch"
    )
    two = Slots(worker="w2", queues=("restore.batch",), free=1, total=1, heartbeat_s=0.02)
    store.publish_slots(one)
    store.publish_slots(two)
    store.publish_slots(Slots(worker="w3", queues=(), free=0, total=1, draining=True))
    assert {s.worker: s for s in store.slots()}.keys() == {"w1", "w2", "w3"}
    store.withdraw_slots("w3")
    time.sleep(0.08)
    assert store.slots() == (one,)


def test_what_a_newer_worker_adds_to_its_slots_is_ignored(store: JobStore) -> None:
    store.publish_slots(Slots(worker="w1", queues=("q",), free=1, total=1))
    words = store._redis.hget("{photomend}:slots", "w1").replace("{", '{"colour":"blue",', 1)
    store._redis.hset("{photomend}:slots", "w1", words)
    assert store.slots() == (Slots(worker="w1", queues=("q",), free=1, total=1),)


def test_a_lock_is_held_by_one_and_opens_by_itself(make_store: Callable[..., JobStore]) -> None:
    one, two = make_store(), make_store()
    assert one.lock("feeder", ttl_s=30.0)
    assert not two.lock("feeder", ttl_s=30.0)
    assert two.lock("sweeper", ttl_s=0.01)
    time.sleep(0.05)
    assert one.lock("sweeper", ttl_s=30.0)


#: No time at all to a nudge that is there, and little to one that is not.
AT_ONCE_S = 0.01


def test_a_feeder_is_nudged_by_the_job_that_it_found_missing_and_by_no_other(store: JobStore) -> None:
    assert not store.nudged(within_s=AT_ONCE_S)
    submit(store, "anna", 1)
    assert not store.nudged(within_s=AT_ONCE_S), "nobody had room to spare"
    assert len(store.take(credits=2, priority=BATCH)) == 1
    store.submit(samples.job(priority=Priority.INTERACTIVE))
    assert not store.nudged(within_s=AT_ONCE_S), "there was room for a batch job only"
    submit(store, "anna", 3)
    assert store.nudged(within_s=5.0)
    assert not store.nudged(within_s=AT_ONCE_S), "one nudge for all of them"


def test_a_job_that_comes_back_nudges_as_well(store: JobStore) -> None:
    submit(store, "anna", 1)
    (job_id,) = store.take(credits=2, priority=BATCH)
    store.claim(job_id, worker="w", lease_s=60.0)
    store.release(job_id, epoch=1, charge=False)
    assert store.nudged(within_s=5.0)


def test_a_slot_that_becomes_free_nudges_where_something_waits(store: JobStore) -> None:
    store.publish_slots(Slots(worker="w", queues=(), free=1, total=1))
    assert not store.nudged(within_s=AT_ONCE_S), "for nothing"
    submit(store, "anna", 1)
    store.publish_slots(Slots(worker="w", queues=(), free=0, total=1))
    assert not store.nudged(within_s=AT_ONCE_S), "by no slot"
    store.publish_slots(Slots(worker="w", queues=(), free=1, total=1))
    assert store.nudged(within_s=5.0)


def test_whoever_waits_already_hears_a_nudge(make_store: Callable[..., JobStore]) -> None:
    ours, theirs = make_store(), make_store()
    ours.take(credits=1, priority=BATCH)

    def waits() -> bool:
        return any(theirs.nudged(within_s=60.0) for _ in range(30))

    with ThreadPoolExecutor() as pool:
        heard = pool.submit(waits)
        wait_for(lambda: ours._redis.info("clients")["blocked_clients"], what="it waits")
        submit(ours, "anna", 1)
        assert heard.result()


def test_two_feeders_that_counted_the_same_room_do_not_fill_it_twice(store: JobStore) -> None:
    submit(store, "anna", 9)
    assert len(store.take(credits=3, priority=BATCH, sent=0)) == 3
    assert store.take(credits=3, priority=BATCH, sent=0) == ()
    assert len(store.take(credits=3, priority=BATCH, sent=2)) == 2
    assert len(store.take(credits=3, priority=BATCH, sent=5)) == 3
