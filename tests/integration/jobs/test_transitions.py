"""Every transition of the store on a real Redis: what it does, what it refuses, and that nothing else is legal."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from jobs.connection import script_text
from jobs.errors import Fenced, IllegalMove, JobNotFound
from jobs.model import Job, Priority, Progress, TenantId, new_job_id
from jobs.states import MOVES, TERMINAL, JobState
from jobs.store import Beat, ClaimRefusal, JobStore
from tests import samples
from tests.integration.jobs.conftest import LAPSED_S, LEASE_S

STATES = list(JobState)
NOT_PROCESSING = [s for s in STATES if s is not JobState.PROCESSING]
MakeJob = Callable[..., Job]
#: What the scripts share; ``beat`` begins with these words.
COMMON = script_text("beat").split("-- Renews the lease")[0]


@pytest.mark.parametrize(("origin", "to"), list(itertools.product(STATES, STATES)))
def test_lua_and_python_agree_on_every_pair_of_states(store: JobStore, origin: JobState, to: JobState) -> None:
    script = COMMON + "return legal(ARGV[1], ARGV[2])"
    assert bool(store._redis.eval(script, 0, origin, to)) is (to in MOVES[origin])


def test_a_move_that_is_not_in_the_table_raises_before_it_writes(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.SUCCEEDED)
    before = store._redis.hgetall(f"{{photomend}}:job:{job.id}")
    with pytest.raises(Exception, match="illegal move succeeded -> queued"):
        store._redis.eval(COMMON + "move(ARGV[1], load(ARGV[1]), 'queued', {'attempt', 0})", 0, job.id)
    assert store._redis.hgetall(f"{{photomend}}:job:{job.id}") == before


def test_a_job_lives_from_submit_to_result(store: JobStore) -> None:
    wish = samples.job(callback=samples.CALLBACK, metadata={"album": "1931"}, input_bytes=123_456, deadline_s=60.0)
    queued = store.submit(wish).job
    assert (queued.state, queued.attempt, queued.epoch, queued.revision) == (JobState.QUEUED, 0, 0, 1)
    assert queued.created_at > 1e9
    assert queued == store.get(wish.id), "a submit tells it without reading the record back"
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (wish.id,)

    claimed = store.claim(wish.id, worker="w1", lease_s=LEASE_S)
    assert isinstance(claimed, Job)
    assert (claimed.state, claimed.attempt, claimed.epoch, claimed.worker) == (JobState.PROCESSING, 1, 1, "w1")
    assert claimed.started_at is not None
    assert claimed.lease_until == pytest.approx(claimed.started_at + LEASE_S)
    news = Progress(stage="detect", percent=30)
    assert store.beat(wish.id, epoch=1, lease_s=LEASE_S, progress=news) is Beat.OK
    assert store.get(wish.id).progress == news

    done = store.commit(wish.id, epoch=1, result=samples.result())
    assert (done.state, done.result, done.lease_until) == (JobState.SUCCEEDED, samples.result(), None)
    assert done == store.get(wish.id, tenant=wish.tenant)
    assert done.completed_at is not None
    assert done.completed_at >= claimed.started_at
    assert (done.options, done.metadata, done.input_bytes) == (wish.options, wish.metadata, wish.input_bytes)
    assert set(store.counts().values()) == {0, 2}, "nothing waits or runs; two callbacks are in the outbox"


def test_an_unknown_job_is_not_found_and_cannot_be_moved(store: JobStore) -> None:
    stranger = new_job_id()
    assert store.claim(stranger, worker="w", lease_s=1) is ClaimRefusal.GONE
    assert store.beat(stranger, epoch=1, lease_s=1, progress=None) is Beat.FENCED
    for call in (
        lambda: store.get(stranger),
        lambda: store.commit(stranger, epoch=1, result=samples.result()),
        lambda: store.fail(stranger, epoch=1, failure=samples.FAILURE),
        lambda: store.fail(stranger, epoch=None, failure=samples.FAILURE),
        lambda: store.release(stranger, epoch=1, charge=True),
        lambda: store.cancel(stranger, tenant=TenantId("local")),
        lambda: store.canceled(stranger, epoch=1),
    ):
        with pytest.raises(JobNotFound):
            call()
    assert store._redis.keys("*") == [], "a refusal writes nothing"


def test_another_tenants_job_is_not_found(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.QUEUED, tenant=TenantId("anna"))
    with pytest.raises(JobNotFound):
        store.get(job.id, tenant=TenantId("bert"))
    with pytest.raises(JobNotFound):
        store.cancel(job.id, tenant=TenantId("bert"))
    assert store.get(job.id, tenant=TenantId("anna")).state is JobState.QUEUED


@pytest.mark.parametrize("state", NOT_PROCESSING)
def test_only_a_processing_job_can_be_finished_by_a_worker(store: JobStore, in_state: MakeJob, state: JobState) -> None:
    job = in_state(state)
    before = store.get(job.id)
    refusals = []
    for call in (
        lambda: store.commit(job.id, epoch=job.epoch, result=samples.result("other")),
        lambda: store.release(job.id, epoch=job.epoch, charge=True),
        lambda: store.fail(job.id, epoch=job.epoch + 1, failure=samples.FAILURE),
    ):
        with pytest.raises(IllegalMove) as refused:
            call()
        refusals.append(type(refused.value))
    assert refusals[2] is Fenced
    assert refusals[0] is (Fenced if state is JobState.QUEUED else IllegalMove)
    assert store.beat(job.id, epoch=job.epoch, lease_s=1, progress=None) is Beat.FENCED
    assert store.get(job.id) == before


@pytest.mark.parametrize("state", [*NOT_PROCESSING[1:], JobState.PROCESSING])
def test_only_a_queued_job_can_be_claimed_or_refused_before_a_claim(
    store: JobStore, in_state: MakeJob, state: JobState
) -> None:
    job = in_state(state)
    expected = ClaimRefusal.CANCELED if state is JobState.CANCELED else ClaimRefusal.NOT_QUEUED
    assert store.claim(job.id, worker="w2", lease_s=1) is expected
    with pytest.raises(IllegalMove):
        store.fail(job.id, epoch=None, failure=samples.FAILURE.__class__(code="x", title="y", detail="z"))
    assert store.get(job.id) == job


def test_a_queued_job_can_be_failed_without_a_worker(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.QUEUED)
    failed = store.fail(job.id, epoch=None, failure=samples.FAILURE)
    assert (failed.state, failed.failure, failed.attempt) == (JobState.FAILED, samples.FAILURE, 0)
    assert store.take(credits=9, priority=Priority.INTERACTIVE) == ()


def test_a_worker_whose_job_was_taken_over_is_fenced_off(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.PROCESSING)
    store.beat(job.id, epoch=1, lease_s=LAPSED_S, progress=None)
    assert store.sweep().requeued == 1
    zombie = job.epoch
    for _ in range(2):  # first while it waits again, then while another worker has it
        assert store.beat(job.id, epoch=zombie, lease_s=LEASE_S, progress=None) is Beat.FENCED
        for call in (
            lambda: store.commit(job.id, epoch=zombie, result=samples.result("zombie")),
            lambda: store.fail(job.id, epoch=zombie, failure=samples.FAILURE),
            lambda: store.release(job.id, epoch=zombie, charge=True),
            lambda: store.canceled(job.id, epoch=zombie),
        ):
            with pytest.raises(Fenced):
                call()
        heir = store.claim(job.id, worker="w2", lease_s=LEASE_S)
    assert isinstance(heir, ClaimRefusal) or heir.epoch == 2
    assert store.commit(job.id, epoch=2, result=samples.result("heir")).result == samples.result("heir")


def test_a_commit_after_the_lease_but_before_anyone_noticed_counts(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.PROCESSING)
    store.beat(job.id, epoch=1, lease_s=LAPSED_S, progress=None)
    assert store.commit(job.id, epoch=1, result=samples.result()).state is JobState.SUCCEEDED
    assert store.sweep().requeued == 0


def test_calls_whose_answer_was_lost_may_be_repeated(store: JobStore, in_state: MakeJob) -> None:
    """The client retries by itself: the second call must not take the first one's work for someone else's."""
    job = in_state(JobState.PROCESSING, callback=samples.CALLBACK)
    first = store.commit(job.id, epoch=1, result=samples.result())
    assert store.commit(job.id, epoch=1, result=samples.result()) == first
    lost = in_state(JobState.PROCESSING)
    first = store.fail(lost.id, epoch=1, failure=samples.FAILURE)
    assert store.fail(lost.id, epoch=1, failure=samples.FAILURE) == first
    assert store.counts()["outbox"] == 2, "started and completed of the first job, each once"


def test_the_same_claim_repeated_is_granted_again_and_counted_once(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.submit(samples.job()).job
    monkeypatch.setattr("jobs.store.secrets.token_hex", lambda _: "the-same-call")
    first = store.claim(job.id, worker="w1", lease_s=LEASE_S)
    assert store.claim(job.id, worker="w1", lease_s=LEASE_S) == first
    assert store.get(job.id).attempt == 1


def test_progress_never_falls_within_an_attempt_and_starts_anew_with_the_next(
    store: JobStore, in_state: MakeJob
) -> None:
    job = in_state(JobState.PROCESSING)
    store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=Progress(stage="restore", percent=60))
    store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=Progress(stage="blend", percent=50))
    assert store.get(job.id).progress == Progress(stage="blend", percent=60)
    revision = store.get(job.id).revision
    store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=Progress(stage="blend", percent=60))
    assert store.get(job.id).revision == revision, "no news is no change"
    store.release(job.id, epoch=1, charge=True)
    assert store.get(job.id).progress is None


def test_a_released_job_is_next_again_and_is_charged_only_on_request(store: JobStore) -> None:
    first, second = (store.submit(samples.job()).job for _ in range(2))
    store.take(credits=2, priority=Priority.INTERACTIVE)
    for charge, attempts in ((False, 0), (True, 1), (False, 1)):
        claimed = store.claim(first.id, worker="w", lease_s=LEASE_S)
        assert isinstance(claimed, Job)
        released = store.release(first.id, epoch=claimed.epoch, charge=charge)
        assert (released.state, released.attempt, released.lease_until) == (JobState.QUEUED, attempts, None)
    third = store.submit(samples.job()).job
    assert store.take(credits=2, priority=Priority.INTERACTIVE) == (first.id, third.id)
    assert store.get(second.id).state is JobState.QUEUED


@pytest.mark.parametrize("end", ["release", "death"])
def test_a_job_that_was_begun_out_of_turn_does_not_wait_its_turn_again(store: JobStore, end: str) -> None:
    older, begun = (store.submit(samples.job()).job for _ in range(2))
    store.claim(begun.id, worker="w", lease_s=LEASE_S)
    if end == "release":
        store.release(begun.id, epoch=1, charge=False)
    else:
        store.release_worker("w", charge=True)
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (begun.id,)
    store.hand_back(begun.id)
    assert store.take(credits=2, priority=Priority.INTERACTIVE) == (begun.id, older.id)


def test_a_job_interrupted_as_often_as_allowed_is_failed(make_store: Callable[..., JobStore]) -> None:
    store = make_store(max_attempts=3)
    job = store.submit(samples.job()).job
    for attempt in (1, 2, 3):
        claimed = store.claim(job.id, worker="w", lease_s=LAPSED_S)
        assert isinstance(claimed, Job)
        assert claimed.attempt == attempt
        report = store.sweep()
        assert (report.requeued, report.ended) == ((1, 0) if attempt < 3 else (0, 1))
    ended = store.get(job.id)
    assert ended.state is JobState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "too_many_interruptions"


def test_a_claim_beyond_the_allowed_attempts_fails_the_job(make_store: Callable[..., JobStore]) -> None:
    """The limit was lowered while the job waited."""
    job = make_store().submit(samples.job()).job
    claimed = make_store().claim(job.id, worker="w", lease_s=LEASE_S)
    assert isinstance(claimed, Job)
    make_store().release(job.id, epoch=1, charge=True)
    assert make_store(max_attempts=1).claim(job.id, worker="w", lease_s=LEASE_S) is ClaimRefusal.EXHAUSTED
    assert make_store().get(job.id).state is JobState.FAILED


def test_a_record_of_a_newer_form_is_left_to_newer_workers(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.QUEUED)
    store._redis.hset(f"{{photomend}}:job:{job.id}", "v", "2")
    assert store.claim(job.id, worker="w", lease_s=1) is ClaimRefusal.NOT_QUEUED
    assert store._redis.hget(f"{{photomend}}:job:{job.id}", "state") == "queued"


# -- cancel


def test_cancel_ends_a_queued_job_at_once_wherever_it_waits(store: JobStore) -> None:
    in_backlog, sent = (store.submit(samples.job()).job for _ in range(2))
    assert store.take(credits=1, priority=Priority.INTERACTIVE) == (in_backlog.id,)
    for job in (in_backlog, sent):
        assert store.cancel(job.id, tenant=job.tenant).state is JobState.CANCELED
        assert store.claim(job.id, worker="w", lease_s=1) is ClaimRefusal.CANCELED
    assert set(store.counts().values()) == {0}


def test_cancel_of_a_processing_job_is_obeyed_by_its_worker(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.PROCESSING, callback=samples.CALLBACK)
    with pytest.raises(IllegalMove):
        store.canceled(job.id, epoch=1)
    asked = store.cancel(job.id, tenant=job.tenant)
    assert (asked.state, asked.cancel_requested) == (JobState.PROCESSING, True)
    assert store.cancel(job.id, tenant=job.tenant) == asked
    assert store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=None) is Beat.CANCEL
    assert store.canceled(job.id, epoch=1).state is JobState.CANCELED
    assert store.canceled(job.id, epoch=1).state is JobState.CANCELED
    assert store.counts()["outbox"] == 2, "started and canceled"


def test_cancel_that_comes_after_the_work_is_done_loses(store: JobStore, in_state: MakeJob) -> None:
    job = in_state(JobState.PROCESSING)
    store.cancel(job.id, tenant=job.tenant)
    assert store.commit(job.id, epoch=1, result=samples.result()).state is JobState.SUCCEEDED


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_cancel_leaves_a_finished_job_as_it_is(store: JobStore, in_state: MakeJob, state: JobState) -> None:
    job = in_state(state)
    assert store.cancel(job.id, tenant=job.tenant) == job


@pytest.mark.parametrize("way", ["release", "lapse"])
def test_a_canceled_job_that_its_worker_gives_up_ends_canceled(store: JobStore, in_state: MakeJob, way: str) -> None:
    job = in_state(JobState.PROCESSING)
    if way == "lapse":
        store.beat(job.id, epoch=1, lease_s=LAPSED_S, progress=None)
    store.cancel(job.id, tenant=job.tenant)
    if way == "release":
        store.release(job.id, epoch=1, charge=False)
    else:
        assert store.sweep().ended == 1
    ended = store.get(job.id)
    assert ended.state is JobState.CANCELED
    assert ended.attempt == (0 if way == "release" else 1), "an uncounted attempt stays uncounted"
    assert store.counts()["waiting_interactive"] == 0


# -- deadline


def test_a_worker_that_is_too_late_hears_it_and_is_not_renewed(store: JobStore) -> None:
    job = store.submit(samples.job(deadline_s=0.15)).job
    claimed = store.claim(job.id, worker="w", lease_s=0.1)
    assert isinstance(claimed, Job)
    heard = set()
    while Beat.DEADLINE not in heard:
        heard.add(store.beat(job.id, epoch=1, lease_s=0.05, progress=None))
    assert heard == {Beat.OK, Beat.DEADLINE}
    lease = store.get(job.id).lease_until
    store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=None)
    assert store.get(job.id).lease_until == lease


@pytest.mark.parametrize("who", ["claim", "sweep", "release"])
def test_a_job_past_its_deadline_fails_instead_of_running(store: JobStore, who: str) -> None:
    job = store.submit(samples.job(deadline_s=0.0 if who != "release" else 0.5)).job
    if who == "claim":
        assert store.claim(job.id, worker="w", lease_s=1) is ClaimRefusal.DEADLINE
    elif who == "sweep":
        assert store.sweep().overdue == 1
    else:
        assert isinstance(store.claim(job.id, worker="w", lease_s=LEASE_S), Job)
        while store.beat(job.id, epoch=1, lease_s=LEASE_S, progress=None) is not Beat.DEADLINE:
            pass
        store.release(job.id, epoch=1, charge=True)
    failed = store.get(job.id)
    assert failed.state is JobState.FAILED
    assert failed.failure is not None
    assert failed.failure.code == "deadline_exceeded"
    assert store.sweep().overdue == 0
    assert set(store.counts().values()) == {0}
