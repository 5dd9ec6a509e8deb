"""Callbacks: one entry per job and event, told at least once, whatever the sender does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from jobs.errors import JobNotFound
from jobs.model import Callback, CallbackEvent, Job, TenantId
from jobs.outbox import GONE_S, DeliveryState
from jobs.states import JobState
from jobs.store import JobStore
from tests import samples
from tests.integration.jobs.conftest import LAPSED_S, LEASE_S, expire, let_pass

MakeJob = Callable[..., Job]
ENDS = {
    JobState.SUCCEEDED: CallbackEvent.COMPLETED,
    JobState.FAILED: CallbackEvent.FAILED,
    JobState.CANCELED: CallbackEvent.CANCELED,
}


@pytest.mark.parametrize(("state", "event"), ENDS.items())
def test_each_end_tells_its_one_event(
    store: JobStore, in_state: MakeJob, state: JobState, event: CallbackEvent
) -> None:
    job = in_state(state, callback=Callback(url="https://example.com/hook"))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert (delivery.job_id, delivery.event, delivery.url, delivery.attempt) == (
        job.id,
        event,
        "https://example.com/hook",
        1,
    )
    assert delivery.id.startswith("msg_")
    assert "." not in delivery.id
    said = json.loads(delivery.body)
    assert (said["type"], said["data"]["id"], said["data"]["status"]) == (event, job.id, state)


def test_only_the_events_that_were_asked_for_are_told(store: JobStore, in_state: MakeJob) -> None:
    in_state(JobState.SUCCEEDED)
    in_state(JobState.SUCCEEDED, callback=Callback(url="https://e.com", events=(CallbackEvent.FAILED,)))
    job = in_state(JobState.SUCCEEDED, callback=Callback(url="https://e.com", events=(CallbackEvent.STARTED,)))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert (delivery.job_id, delivery.event) == (job.id, CallbackEvent.STARTED)


def test_started_is_told_once_however_often_the_job_starts(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.PROCESSING, callback=samples.CALLBACK)
    (started,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_delivered(started.id)
    store.release(job.id, epoch=1, charge=False)
    store.claim(job.id, worker="w2", lease_s=LAPSED_S)
    store.sweep()
    store.claim(job.id, worker="w3", lease_s=LEASE_S)
    assert store.get(job.id).epoch == 3
    assert store.counts()["outbox"] == 0


def test_a_refused_or_repeated_end_tells_nothing(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.SUCCEEDED, callback=Callback(url="https://e.com"))
    store.commit(job.id, epoch=1, result=samples.result())
    store.cancel(job.id, tenant=job.tenant)
    expire(store, job)
    assert store.counts()["outbox"] == 1


def test_ends_that_the_store_itself_makes_are_told_too(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_attempts=1)
    callback = Callback(url="https://e.com")
    exhausted = store.submit(samples.job(callback=callback)).job
    store.claim(exhausted.id, worker="w", lease_s=LAPSED_S)
    late = store.submit(samples.job(callback=callback, deadline_s=0.0)).job
    store.sweep()
    told = {d.job_id: json.loads(d.body)["data"]["error"]["code"] for d in store.due_callbacks(limit=9, lease_s=9)}
    assert told == {exhausted.id: "too_many_interruptions", late.id: "deadline_exceeded"}


def test_a_delivery_is_offered_to_one_sender_and_again_when_that_one_dies(store: JobStore, in_state: MakeJob) -> None:
    in_state(JobState.CANCELED, callback=Callback(url="https://e.com"))
    (first,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert store.due_callbacks(limit=9, lease_s=LEASE_S) == ()
    let_pass(store, "outbox", LEASE_S)
    (second,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert (second.id, second.body, second.attempt) == (first.id, first.body, 2)
    store.callback_delivered(second.id)
    store.callback_delivered(second.id)
    store.callback_failed(second.id, retry_in_s=0.0, error="too late to say so")
    assert store.counts()["outbox"] == 0
    (told,) = store.callbacks(second.job_id)
    assert (told.state, told.attempts, told.error) == (DeliveryState.DELIVERED, 2, None)


def test_a_failed_delivery_comes_back_when_it_is_due(store: JobStore, in_state: MakeJob) -> None:
    in_state(JobState.CANCELED, callback=Callback(url="https://e.com"))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_failed(delivery.id, retry_in_s=300.0, error="503")
    assert store.due_callbacks(limit=9, lease_s=LEASE_S) == ()
    let_pass(store, "outbox", 300.0)
    assert [d.attempt for d in store.due_callbacks(limit=9, lease_s=LEASE_S)] == [2]


def test_a_delivery_that_is_given_up_is_kept_aside_with_its_reason(store: JobStore, in_state: MakeJob) -> None:
    in_state(JobState.CANCELED, callback=Callback(url="https://e.com"))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_failed(delivery.id, retry_in_s=None, error="410 Gone" + "!" * 1000)
    counts = store.counts()
    assert (counts["outbox"], counts["undelivered"]) == (0, 1)
    error = store._redis.hget(f"{{photomend}}:delivery:{delivery.id}", "error")
    assert error.startswith("410 Gone")
    assert len(error) == 300


def test_the_limit_is_kept_and_the_oldest_come_first(store: JobStore, in_state: MakeJob) -> None:
    jobs = [in_state(JobState.CANCELED, callback=Callback(url="https://e.com")) for _ in range(5)]
    first = store.due_callbacks(limit=3, lease_s=LEASE_S)
    rest = store.due_callbacks(limit=3, lease_s=LEASE_S)
    assert [d.job_id for d in first + rest] == [job.id for job in jobs]


HOOK = Callback(url="https://e.com/hook?job=1")


def test_what_was_not_tried_is_not_counted(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.CANCELED, callback=HOOK)
    for _ in range(3):
        (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
        assert delivery.attempt == 1
        store.callback_held(delivery.id, for_s=60.0)
        assert store.due_callbacks(limit=9, lease_s=LEASE_S) == ()
        let_pass(store, "outbox", 60.0)
    assert [record.attempts for record in store.callbacks(job.id)] == [0]


def test_the_owner_sees_what_became_of_each_event(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.SUCCEEDED, callback=samples.CALLBACK)
    started, completed = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_failed(started.id, retry_in_s=None, error="HTTP 500")
    store.callback_failed(completed.id, retry_in_s=300.0, error="HTTP 503")
    given_up, waiting = store.callbacks(job.id, tenant=job.tenant)
    assert (given_up.id, given_up.event, given_up.state) == (started.id, started.event, DeliveryState.UNDELIVERED)
    assert (given_up.attempts, given_up.error, given_up.next_attempt_at) == (1, "HTTP 500", None)
    assert (waiting.id, waiting.state, waiting.error) == (completed.id, DeliveryState.WAITING, "HTTP 503")
    assert waiting.next_attempt_at is not None
    assert waiting.next_attempt_at > waiting.happened_at
    assert waiting.url == samples.CALLBACK.url
    with pytest.raises(JobNotFound):
        store.callbacks(job.id, tenant=TenantId("another"))


@pytest.mark.parametrize("outcome", ["delivered", "undelivered", "waiting"])
def test_a_replay_tells_the_same_event_under_the_same_id_by_a_fresh_schedule(
    store: JobStore, in_state: MakeJob, outcome: str
) -> None:
    job = in_state(JobState.CANCELED, callback=HOOK)
    for _ in range(2):
        (first,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
        store.callback_failed(first.id, retry_in_s=0.0, error="HTTP 500")
    (first,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    settle = {
        "delivered": lambda: store.callback_delivered(first.id),
        "undelivered": lambda: store.callback_failed(first.id, retry_in_s=None, error="HTTP 500"),
        "waiting": lambda: store.callback_failed(first.id, retry_in_s=1e6, error="HTTP 500"),
    }
    settle[outcome]()
    assert [record.state for record in store.callbacks(job.id)] == [outcome]

    assert store.replay_callbacks([first.id]) == (first.id,)
    (again,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert (again.id, again.body, again.attempt) == (first.id, first.body, 1)
    assert [record.attempts for record in store.callbacks(job.id)] == [4]
    assert store.counts()["undelivered"] == 0


def test_what_never_happened_is_not_replayed(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.QUEUED, callback=HOOK)
    hexadecimal = job.id.removeprefix("job_")
    assert store.replay_callbacks([f"msg_{hexadecimal}_completed", "msg_0_failed", "nonsense", ""]) == ()
    assert store.callbacks(job.id) == ()
    assert store.counts()["outbox"] == 0


def test_an_endpoint_that_wants_no_more_is_left_alone_with_all_it_would_hear(
    store: JobStore, in_state: MakeJob
) -> None:
    first = in_state(JobState.CANCELED, callback=HOOK)
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_gone(delivery.id, error="HTTP 410")
    later = in_state(JobState.CANCELED, callback=Callback(url="https://e.com/hook?job=2"))
    elsewhere = in_state(JobState.CANCELED, callback=Callback(url="https://e.com/another"))
    neighbour = in_state(JobState.CANCELED, callback=HOOK, tenant=TenantId("neighbour"))
    due = store.due_callbacks(limit=9, lease_s=LEASE_S)
    assert {d.job_id for d in due} == {elsewhere.id, neighbour.id}
    (told,) = store.callbacks(later.id)
    assert (told.state, told.attempts) == (DeliveryState.UNDELIVERED, 0)
    assert "410" in (told.error or "")
    listed = {record.job_id for record in store.unsettled_callbacks(undelivered=True)}
    assert listed == {first.id, later.id}
    assert len(list(store.unsettled_callbacks(undelivered=False))) == 4

    store.replay_callbacks([told.id])
    assert [d.job_id for d in store.due_callbacks(limit=9, lease_s=LEASE_S)] == [later.id], "a replay: it is back"
    in_state(JobState.CANCELED, callback=HOOK)
    assert len(store.due_callbacks(limit=9, lease_s=LEASE_S)) == 1, "for everything new as well"


def test_an_endpoint_is_not_left_alone_for_ever(store: JobStore, in_state: MakeJob) -> None:
    in_state(JobState.CANCELED, callback=HOOK)
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_gone(delivery.id, error="HTTP 410")
    let_pass(store, "gone", GONE_S)
    in_state(JobState.CANCELED, callback=HOOK)
    assert len(store.due_callbacks(limit=9, lease_s=LEASE_S)) == 1
