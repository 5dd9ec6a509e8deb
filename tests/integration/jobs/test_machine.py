"""Random lives of several jobs on the real scripts, against a model of ten lines; the doctor looks on at every step."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.doctor import Doctor
from jobs.errors import Fenced, IdempotencyMismatch, IllegalMove, JobNotFound, QuotaExceeded
from jobs.model import Job, JobId, Priority, TenantId, new_job_id
from jobs.settings import JobsSettings
from jobs.states import MAX_DEATHS, MOVES, TERMINAL, JobState
from jobs.store import Beat, ClaimRefusal, Idempotency, JobStore
from tests import samples

Q, RUN, OK, BAD, GONE, OLD = (
    JobState.QUEUED,
    JobState.PROCESSING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELED,
    JobState.EXPIRED,
)
#: Which job a rule takes. 0 is one that never was; below WRONG, any, whatever its state.
PICKS = st.integers(0, 19)
WRONG = 5
TENANTS = [TenantId("anna"), TenantId("bert")]
WORKERS = ["w1", "w2"]
QUOTA = 5
ATTEMPTS = 5


WHAT_HAPPENS = {
    "claimed", "committed", "committed again", "failed", "released", "asked to cancel", "canceled", "died", "expired",
    "deleted", "told", "fenced", "refused", "killed", "accused", "hung", "ran alone", "cleared", "poisoned", "given up",
    "kept away", "handed back", "hung past its lease", "accused past their leases",
}  # fmt: skip


@dataclass
class Known:
    """What the model knows of one job."""

    tenant: TenantId
    state: JobState = Q
    epoch: int = 0
    attempt: int = 0
    cancel: bool = False
    result: str | None = None
    ended_as: JobState | None = None
    worker: str = ""
    alone_deaths: int | None = None  #: None = no suspect
    is_dead: bool = False
    has_lapsed: bool = False  #: its worker's lease ended by itself, and nobody has had it since

    def to(self, state: JobState) -> None:
        assert state in MOVES[self.state], "the model itself makes legal moves only"
        self.state = state
        self.has_lapsed = False
        if state in TERMINAL and state is not OLD:
            self.ended_as = state

    def put_back(self, did: Counter[str]) -> None:
        is_poison = self.alone_deaths == MAX_DEATHS
        if self.cancel:
            self.to(GONE)
        elif is_poison or self.attempt >= ATTEMPTS:
            self.to(BAD)
            self.is_dead = True
            did["poisoned" if is_poison else "given up"] += 1
        else:
            self.to(Q)

    def accuse(self) -> None:
        self.alone_deaths = 0 if self.alone_deaths is None else self.alone_deaths + 1

    def accuse_lapsed(self, did: Counter[str]) -> None:
        self.has_lapsed = False
        self.accuse()
        if self.alone_deaths == MAX_DEATHS:
            self.to(BAD)
            self.is_dead = True
            did["poisoned"] += 1

    def claimed_by(self, worker: str) -> None:
        self.to(RUN)
        self.epoch, self.attempt, self.worker = self.epoch + 1, self.attempt + 1, worker


class Lives(RuleBasedStateMachine):
    """Any call, on any job, with any epoch, in any order, also twice."""

    redis_url: str
    did: Counter[str]  #: what really happened over all lives: a rule that never struck has shown nothing

    @initialize(seed=st.integers(0, 2**32 - 1))
    def start(self, seed: int) -> None:
        config = JobsSettings(redis_url=self.redis_url, max_waiting_jobs=QUOTA, max_attempts=ATTEMPTS)
        self.store = JobStore.connect(config.model_copy(update={"resend_after_s": 1e-6}))
        self.store._redis.flushall()
        self.doctor = Doctor(self.store._redis)
        self.known: dict[JobId, Known] = {}
        self.keys: dict[tuple[TenantId, str], tuple[JobId, str]] = {}
        self.told: Counter[str] = Counter()
        self.a_busy_moment(seed)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert list(self.doctor.examine()) == []
            self.store.close()

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(Priority),
        key=st.sampled_from(["", "k1", "k2"]),
        fingerprint=st.sampled_from("ab"),
    )
    def submit(self, tenant: TenantId, priority: Priority, key: str, fingerprint: str) -> None:
        job = samples.job(tenant=tenant, priority=priority, callback=samples.CALLBACK)
        before = self.keys.get((tenant, key)) if key else None
        if before and before[0] not in self.known:
            before = None  # deleted: its key is free again
        unfinished = sum(k.tenant == tenant and k.state in {Q, RUN} for k in self.known.values())
        idempotency = Idempotency(key=key, fingerprint=fingerprint) if key else None
        try:
            submitted = self.store.submit(job, idempotency=idempotency)
        except IdempotencyMismatch:
            assert before is not None and before[1] != fingerprint  # noqa: PT018
            return
        except QuotaExceeded:
            assert before is None and unfinished == QUOTA  # noqa: PT018
            return
        assert submitted.replayed == (before is not None)
        assert unfinished < QUOTA or submitted.replayed
        if before:
            assert submitted.job.id == before[0]
        else:
            self.known[job.id] = Known(tenant=tenant)
            if key:
                self.keys[tenant, key] = (job.id, fingerprint)

    @rule(credits=st.integers(0, 4), priority=st.sampled_from(Priority))
    def take(self, credits: int, priority: Priority) -> None:
        taken = self.store.take(credits=credits, priority=priority)
        assert len(taken) <= credits
        assert all(self.known[job_id].state is Q for job_id in taken)

    @rule()
    def resend(self) -> None:
        assert all(self.known[job_id].state is Q for job_id, _ in self.store.overdue_sent(limit=99))

    @rule(pick=PICKS, worker=st.sampled_from(WORKERS))
    def claim(self, pick: int, worker: str) -> None:
        job_id = self._pick(pick, Q)
        if job_id not in self.known:
            assert self.store.claim(job_id, worker=worker, lease_s=1e6) is ClaimRefusal.GONE
            return
        known = self.known[job_id]
        got = self.store.claim(job_id, worker=worker, lease_s=1e6)
        if known.state is not Q:
            assert got is (ClaimRefusal.CANCELED if known.state is GONE else ClaimRefusal.NOT_QUEUED)
        elif known.alone_deaths is not None:
            assert got is ClaimRefusal.SUSPECT
        elif any(k.alone_deaths is not None for k in self._held(worker).values()):
            assert got is ClaimRefusal.SECLUDED
            self.did["kept away"] += 1
        else:
            known.claimed_by(worker)
            self.did["claimed"] += 1
            assert isinstance(got, Job)
            assert (got.epoch, got.attempt, got.worker) == (known.epoch, known.attempt, worker)

    @rule(worker=st.sampled_from(WORKERS))
    def claim_suspect(self, worker: str) -> None:
        got = self.store.claim_suspect(worker=worker, lease_s=1e6)
        if self._held(worker):
            assert got is ClaimRefusal.NOT_ALONE
        elif isinstance(got, Job):
            known = self.known[got.id]
            assert (known.state, known.alone_deaths is not None) == (Q, True)
            known.claimed_by(worker)
            self.did["ran alone"] += 1
            assert (got.epoch, got.attempt) == (known.epoch, known.attempt)
        else:
            assert got is ClaimRefusal.NONE
            assert not any(k.state is Q and k.alone_deaths is not None for k in self.known.values())

    @rule(pick=PICKS)
    def hand_back(self, pick: int) -> None:
        job_id = self._pick(pick, Q)
        was_sent = any(self.store._redis.zscore(f"{{photomend}}:sent:{p}", job_id) is not None for p in Priority)
        assert self.store.hand_back(job_id) == was_sent
        self.did["handed back"] += was_sent

    @rule(pick=PICKS, back=st.integers(0, 2))
    def beat(self, pick: int, back: int) -> None:
        job_id = self._pick(pick, RUN)
        heard = self.store.beat(job_id, epoch=self._epoch(job_id, back), lease_s=1e6)
        known = self.known.get(job_id)
        if known is None or back or known.state is not RUN:
            assert heard is Beat.FENCED
        else:
            assert heard is (Beat.CANCEL if known.cancel else Beat.OK)

    @rule(pick=PICKS, back=st.integers(0, 1), name=st.sampled_from("xy"), times=st.integers(1, 2))
    def commit(self, pick: int, back: int, name: str, times: int) -> None:
        job_id = self._pick(pick, RUN, OK)
        for _ in range(times):
            known = self.known.get(job_id)
            same = known is not None and not back and known.state is OK and known.result == name
            if self._owned(job_id, back):
                self.did["cleared"] += self.known[job_id].alone_deaths is not None
                self.known[job_id].to(OK)
                self.known[job_id].result = name
                self.did["committed"] += 1
                self.store.commit(job_id, epoch=self._epoch(job_id, back), result=samples.result(name))
            elif same:
                self.did["committed again"] += 1
                self.store.commit(job_id, epoch=self._epoch(job_id, back), result=samples.result(name))
            else:
                self._refused(job_id, back, self.store.commit, result=samples.result(name))

    @rule(pick=PICKS, back=st.integers(0, 1))
    def fail(self, pick: int, back: int) -> None:
        job_id = self._pick(pick, RUN)
        if self._owned(job_id, back):
            self.known[job_id].to(BAD)
            self.did["failed"] += 1
            self.store.fail(job_id, epoch=self._epoch(job_id, back), failure=samples.FAILURE)

    @rule(pick=PICKS, back=st.integers(0, 1), charge=st.booleans(), cause=st.sampled_from([None, "hang"]))
    def release(self, pick: int, back: int, charge: bool, cause: str | None) -> None:
        lapsed = [i for i, known in self.known.items() if known.has_lapsed]
        job_id = lapsed[0] if lapsed and cause else self._pick(pick, RUN)
        if self._owned(job_id, back):
            known = self.known[job_id]
            known.attempt -= not charge
            if cause:
                known.accuse()
            self.did["hung" if cause else "released"] += 1
            known.put_back(self.did)
            self.store.release(job_id, epoch=self._epoch(job_id, back), charge=charge, cause=cause)
        elif job_id in self.known and cause and not back and self.known[job_id].has_lapsed:
            self.did["hung past its lease"] += 1
            self.known[job_id].accuse_lapsed(self.did)
            self.store.release(job_id, epoch=self._epoch(job_id, back), charge=charge, cause=cause)
        elif job_id in self.known:
            self._refused(job_id, back, self.store.release, charge=charge)

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        job_id = self._pick(pick, Q, RUN)
        if job_id in self.known:
            known = self.known[job_id]
            self.store.cancel(job_id, tenant=known.tenant)
            if known.state is Q:
                known.to(GONE)
            elif known.state is RUN:
                known.cancel = True
                self.did["asked to cancel"] += 1

    @rule(pick=PICKS, back=st.integers(0, 1))
    def canceled(self, pick: int, back: int) -> None:
        job_id = self._pick(pick, RUN)
        if self._owned(job_id, back) and self.known[job_id].cancel:
            self.known[job_id].to(GONE)
            self.did["canceled"] += 1
            self.store.canceled(job_id, epoch=self._epoch(job_id, back))

    @rule(worker=st.sampled_from(WORKERS), charge=st.booleans(), cause=st.sampled_from([None, "SIGSEGV"]))
    def the_supervisor_reads_an_exit(self, worker: str, charge: bool, cause: str | None) -> None:
        held = self._held(worker)
        for known in held.values():
            if cause:
                known.accuse()
            known.attempt -= not (charge or cause)
            known.put_back(self.did)
        self.did["accused" if cause else "killed"] += len(held)
        lapsed = {i: k for i, k in self.known.items() if k.has_lapsed and k.worker == worker}
        for known in lapsed.values():
            known.has_lapsed = False
            if cause:
                known.accuse_lapsed(self.did)
        if cause:
            self.did["accused past their leases"] += len(lapsed)
            held |= lapsed
        released = self.store.release_worker(worker, charge=charge, cause=cause)
        assert released == {job_id: known.state for job_id, known in held.items()}

    @rule(pick=PICKS)
    def the_lease_lapses(self, pick: int) -> None:
        """Nobody says that the worker died; a sweep finds it."""
        job_id = self._pick(pick, RUN)
        if job_id in self.known and self.known[job_id].state is RUN:
            self.store._redis.hset(f"{{photomend}}:job:{job_id}", "lease_s", "0")
            self.store._redis.zadd("{photomend}:leases", {job_id: 1})
            self.known[job_id].put_back(self.did)
            self.known[job_id].has_lapsed = self.known[job_id].state is Q
            self.did["died"] += 1
            report = self.store.sweep()
            assert report.requeued + report.ended == 1

    @rule(pick=PICKS)
    def time_passes(self, pick: int) -> None:
        job_id = self._pick(pick, OK, BAD, GONE)
        if job_id in self.known and self.known[job_id].state in TERMINAL - {OLD}:
            self.store._redis.zadd("{photomend}:expiry", {job_id: 1})
            self.known[job_id].to(OLD)
            self.did["expired"] += 1
            assert self.store.sweep().expired == 1

    @rule(pick=PICKS)
    def delete(self, pick: int) -> None:
        job_id = self._pick(pick, OK, BAD, GONE, OLD)
        known = self.known.get(job_id)
        if known is None:
            return
        if known.state not in TERMINAL:
            with pytest.raises(IllegalMove):
                self.store.delete(job_id, tenant=known.tenant)
            return
        self.store.delete(job_id, tenant=known.tenant)
        self.did["deleted"] += 1
        self.store.forget_objects(self.store.expired_objects(limit=99))
        assert self.store.sweep().retired == 1
        with pytest.raises(JobNotFound):
            self.store.get(job_id)
        del self.known[job_id]
        self.told = Counter({told: n for told, n in self.told.items() if job_id[4:] not in told})

    @rule(limit=st.integers(1, 5), delivered=st.booleans())
    def tell(self, limit: int, delivered: bool) -> None:
        for delivery in self.store.due_callbacks(limit=limit, lease_s=1e6):
            if delivered:
                self.told[delivery.id] += 1
                self.did["told"] += 1
                self.store.callback_delivered(delivery.id)
            else:
                self.store.callback_failed(delivery.id, retry_in_s=0.0, error="503")

    @rule(seed=st.integers(0, 2**32 - 1))
    def a_busy_moment(self, seed: int) -> None:
        """Ten calls from one seed: Hypothesis' own choices seldom bring a job as far as its end."""
        dice = random.Random(seed)
        pick, coin = (lambda: dice.randrange(20)), (lambda: dice.random() < 0.5)
        calls: list[tuple[int, Callable[[], None]]] = [
            (4, lambda: self.submit(dice.choice(TENANTS), dice.choice(list(Priority)), "", "a")),
            (2, lambda: self.take(dice.randrange(4), dice.choice(list(Priority)))),
            (5, lambda: self.claim(pick(), "w1")),
            (2, lambda: self.beat(pick(), dice.randrange(2))),
            (3, lambda: self.commit(pick(), dice.randrange(8) == 0, dice.choice("xy"), 1 + coin())),
            (2, lambda: self.fail(pick(), dice.randrange(8) == 0)),
            (2, lambda: self.release(pick(), dice.randrange(8) == 0, coin(), dice.choice([None, None, "hang"]))),
            (5, lambda: self.claim_suspect(dice.choice(WORKERS))),
            (
                3,
                lambda: self.the_supervisor_reads_an_exit(dice.choice(WORKERS), coin(), dice.choice([None, "SIGSEGV"])),
            ),
            (1, lambda: self.hand_back(pick())),
            (2, lambda: self.cancel(pick())),
            (3, lambda: self.canceled(pick(), 0)),
            (2, lambda: self.the_lease_lapses(pick())),
            (1, lambda: self.time_passes(pick())),
            (1, lambda: self.delete(pick())),
            (1, lambda: self.tell(3, coin())),
        ]
        _play(dice, calls, 10)

    @rule(seed=st.integers(0, 2**32 - 1))
    def a_bad_day(self, seed: int) -> None:
        """Pictures that kill, one process after the other, until each is cleared or given up."""
        dice = random.Random(seed)
        pick, worker = (lambda: dice.randrange(20)), (lambda: dice.choice(WORKERS))
        calls: list[tuple[int, Callable[[], None]]] = [
            (1, lambda: self.submit(dice.choice(TENANTS), dice.choice(list(Priority)), "", "a")),
            (3, lambda: self.claim(pick(), worker())),
            (8, lambda: self.claim_suspect(worker())),
            (6, lambda: self.the_supervisor_reads_an_exit(worker(), True, dice.choice([None, "SIGSEGV", "SIGABRT"]))),
            (2, lambda: self.release(pick(), 0, True, dice.choice([None, "hang"]))),
            (2, lambda: self.the_lease_lapses(pick())),
            (1, lambda: self.commit(pick(), 0, "x", 1)),
        ]
        _play(dice, calls, 18)

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        if not hasattr(self, "known"):
            return
        for tenant in TENANTS:
            listed = self.store.list(tenant, limit=200).jobs
            assert {job.id for job in listed} == {j for j, k in self.known.items() if k.tenant == tenant}
            for job in listed:
                known = self.known[job.id]
                assert (job.state, job.attempt, job.epoch) == (known.state, known.attempt, known.epoch)
                assert job.cancel_requested == known.cancel

    @invariant()
    def suspects_run_alone_and_only_what_was_given_up_is_dead(self) -> None:
        if not hasattr(self, "known"):
            return
        for worker in WORKERS:
            held = self._held(worker)
            assert len(held) <= 1 or all(known.alone_deaths is None for known in held.values())
        for job_id, known in self.known.items():
            job = self.store.get(job_id)
            assert job.is_suspect == (known.alone_deaths is not None and known.state in {Q, RUN})
            assert sum(death.is_alone for death in job.deaths) == (known.alone_deaths or 0) <= MAX_DEATHS
        assert set(self.store._redis.zrange("{photomend}:dead", 0, -1)) == {
            j for j, k in self.known.items() if k.is_dead
        }

    @invariant()
    def everything_fits_together(self) -> None:
        if hasattr(self, "known"):
            assert list(self.doctor.examine_jobs(list(self.known))) == []
            assert list(self.doctor.examine_workers(set(WORKERS))) == []

    @invariant()
    def each_job_tells_its_end_exactly_once(self) -> None:
        if not hasattr(self, "known"):
            return
        waiting = Counter(self.store._redis.zrange("{photomend}:outbox", 0, -1))
        all_told = self.told + waiting
        assert set(all_told.values()) <= {1}
        words = {OK: "completed", BAD: "failed", GONE: "canceled"}
        ends = {f"msg_{j[4:]}_{words[k.ended_as]}" for j, k in self.known.items() if k.ended_as}
        assert {told for told in all_told if not told.endswith("_started")} == ends

    def _pick(self, pick: int, *states: JobState) -> JobId:
        """Mostly a job in a state that this move is for, at times any job, at times one that never was."""
        right = [job_id for job_id, known in self.known.items() if known.state in states]
        anyone = list(self.known)
        for pool in (right, anyone) if pick >= WRONG else (anyone,):
            if pool and pick:
                return pool[pick % len(pool)]
        return new_job_id()

    def _held(self, worker: str) -> dict[JobId, Known]:
        return {job_id: k for job_id, k in self.known.items() if k.state is RUN and k.worker == worker}

    def _epoch(self, job_id: JobId, back: int) -> int:
        return (self.known[job_id].epoch if job_id in self.known else 1) - back

    def _owned(self, job_id: JobId, back: int) -> bool:
        return job_id in self.known and self.known[job_id].state is RUN and not back

    def _refused(self, job_id: JobId, back: int, call: Any, **args: Any) -> None:
        if job_id not in self.known:
            return
        fenced = back or self.known[job_id].state is Q
        self.did["fenced" if fenced else "refused"] += 1
        with pytest.raises(Fenced if fenced else IllegalMove):
            call(job_id, epoch=self._epoch(job_id, back), **args)


def _play(dice: random.Random, calls: list[tuple[int, Callable[[], None]]], count: int) -> None:
    for _, call in dice.choices(calls, [weight for weight, _ in calls], k=count):
        call()


@pytest.fixture
def lives(redis_url: str) -> type[Lives]:
    with redis.Redis.from_url(redis_url) as client:
        while client.info("server")["uptime_in_seconds"] < 1:
            time.sleep(0.05)  # a sweep takes no lease in the first second after a start
    return type("LivesHere", (Lives,), {"redis_url": redis_url, "did": Counter()})


@pytest.mark.timeout(120)
def test_lives_that_hypothesis_makes_up_keep_every_promise(lives: type[Lives]) -> None:
    calm = settings(
        max_examples=40,
        stateful_step_count=20,
        deadline=None,
        database=None,
        derandomize=True,
        # Shrinking takes minutes here; switch it on to understand a failure.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lives, settings=calm)
    assert lives.did["claimed"] >= 10, lives.did


@pytest.mark.timeout(120)
def test_lives_from_dice_keep_every_promise_and_meet_every_case(lives: type[Lives]) -> None:
    """Hypothesis repeats itself where its steps are many; dice do not."""
    for seed in range(60):
        life = lives()
        life.start(seed)
        for moment in range(4):
            if seed % 3:
                life.a_busy_moment(1000 * seed + moment)
            else:
                life.a_bad_day(1000 * seed + moment)
            life.the_store_is_as_the_model_says()
            life.suspects_run_alone_and_only_what_was_given_up_is_dead()
            life.everything_fits_together()
            life.each_job_tells_its_end_exactly_once()
        life.teardown()
    assert {name for name, times in lives.did.items() if times >= 3} == WHAT_HAPPENS, lives.did
