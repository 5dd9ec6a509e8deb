"""Random lives of several jobs on the real scripts, against a model of ten lines; the doctor looks on at every step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.doctor import Doctor
from jobs.errors import Fenced, IdempotencyMismatch, IllegalMove, QuotaExceeded
from jobs.model import Job, JobId, Priority, TenantId
from jobs.settings import JobsSettings
from jobs.states import MOVES, TERMINAL, JobState
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
TENANTS = [TenantId("anna"), TenantId("bert")]
QUOTA = 5
ATTEMPTS = 3


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

    def to(self, state: JobState) -> None:
        assert state in MOVES[self.state], "the model itself makes legal moves only"
        self.state = state
        if state in TERMINAL and state is not OLD:
            self.ended_as = state

    def put_back(self) -> None:
        self.to(GONE if self.cancel else BAD if self.attempt >= ATTEMPTS else Q)


class Lives(RuleBasedStateMachine):
    """Any call, on any job, with any epoch, in any order, also twice."""

    redis_url: str
    jobs = Bundle("jobs")

    @initialize()
    def start(self) -> None:
        config = JobsSettings(redis_url=self.redis_url, max_waiting_jobs=QUOTA, max_attempts=ATTEMPTS)
        self.store = JobStore.connect(config.model_copy(update={"resend_after_s": 1e-6}))
        self.store._redis.flushall()
        self.doctor = Doctor(self.store._redis)
        self.known: dict[JobId, Known] = {}
        self.keys: dict[tuple[TenantId, str], tuple[JobId, str]] = {}
        self.told: Counter[str] = Counter()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert list(self.doctor.examine()) == []
            self.store.close()

    @rule(
        target=jobs,
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(Priority),
        key=st.sampled_from(["", "k1", "k2"]),
        fingerprint=st.sampled_from("ab"),
    )
    def submit(self, tenant: TenantId, priority: Priority, key: str, fingerprint: str) -> JobId:
        job = samples.job(tenant=tenant, priority=priority, callback=samples.CALLBACK)
        before = self.keys.get((tenant, key)) if key else None
        unfinished = sum(k.tenant == tenant and k.state in {Q, RUN} for k in self.known.values())
        idempotency = Idempotency(key=key, fingerprint=fingerprint) if key else None
        try:
            submitted = self.store.submit(job, idempotency=idempotency)
        except IdempotencyMismatch:
            assert before is not None and before[1] != fingerprint  # noqa: PT018
            return before[0]
        except QuotaExceeded:
            assert before is None and unfinished == QUOTA  # noqa: PT018
            return job.id
        assert submitted.replayed == (before is not None)
        assert unfinished < QUOTA or submitted.replayed
        if before:
            assert submitted.job.id == before[0]
        else:
            self.known[job.id] = Known(tenant=tenant)
            if key:
                self.keys[tenant, key] = (job.id, fingerprint)
        return submitted.job.id

    @rule(credits=st.integers(0, 4), priority=st.sampled_from(Priority))
    def take(self, credits: int, priority: Priority) -> None:
        taken = self.store.take(credits=credits, priority=priority)
        assert len(taken) <= credits
        assert all(self.known[job_id].state is Q for job_id in taken)

    @rule()
    def resend(self) -> None:
        assert all(self.known[job_id].state is Q for job_id, _ in self.store.overdue_sent(limit=99))

    @rule(job_id=jobs, worker=st.sampled_from(["w1", "w2"]))
    def claim(self, job_id: JobId, worker: str) -> None:
        if job_id not in self.known:
            assert self.store.claim(job_id, worker=worker, lease_s=1e6) is ClaimRefusal.GONE
            return
        known = self.known[job_id]
        got = self.store.claim(job_id, worker=worker, lease_s=1e6)
        if known.state is Q:
            known.to(RUN)
            known.epoch, known.attempt = known.epoch + 1, known.attempt + 1
            assert isinstance(got, Job)
            assert (got.epoch, got.attempt, got.worker) == (known.epoch, known.attempt, worker)
        else:
            assert got is (ClaimRefusal.CANCELED if known.state is GONE else ClaimRefusal.NOT_QUEUED)

    @rule(job_id=jobs, back=st.integers(0, 2))
    def beat(self, job_id: JobId, back: int) -> None:
        heard = self.store.beat(job_id, epoch=self._epoch(job_id, back), lease_s=1e6)
        known = self.known.get(job_id)
        if known is None or back or known.state is not RUN:
            assert heard is Beat.FENCED
        else:
            assert heard is (Beat.CANCEL if known.cancel else Beat.OK)

    @rule(job_id=jobs, back=st.integers(0, 1), name=st.sampled_from("xy"), times=st.integers(1, 2))
    def commit(self, job_id: JobId, back: int, name: str, times: int) -> None:
        for _ in range(times):
            known = self.known.get(job_id)
            same = known is not None and not back and known.state is OK and known.result == name
            if self._owned(job_id, back):
                self.known[job_id].to(OK)
                self.known[job_id].result = name
                self.store.commit(job_id, epoch=self._epoch(job_id, back), result=samples.result(name))
            elif same:
                self.store.commit(job_id, epoch=self._epoch(job_id, back), result=samples.result(name))
            else:
                self._refused(job_id, back, self.store.commit, result=samples.result(name))

    @rule(job_id=jobs, back=st.integers(0, 1))
    def fail(self, job_id: JobId, back: int) -> None:
        if self._owned(job_id, back):
            self.known[job_id].to(BAD)
            self.store.fail(job_id, epoch=self._epoch(job_id, back), failure=samples.FAILURE)

    @rule(job_id=jobs, back=st.integers(0, 1), charge=st.booleans())
    def release(self, job_id: JobId, back: int, charge: bool) -> None:
        if self._owned(job_id, back):
            known = self.known[job_id]
            known.attempt -= not charge
            known.put_back()
            self.store.release(job_id, epoch=self._epoch(job_id, back), charge=charge)
        elif job_id in self.known:
            self._refused(job_id, back, self.store.release, charge=charge)

    @rule(job_id=jobs)
    def cancel(self, job_id: JobId) -> None:
        if job_id in self.known:
            known = self.known[job_id]
            self.store.cancel(job_id, tenant=known.tenant)
            if known.state is Q:
                known.to(GONE)
            elif known.state is RUN:
                known.cancel = True

    @rule(job_id=jobs, back=st.integers(0, 1))
    def canceled(self, job_id: JobId, back: int) -> None:
        if self._owned(job_id, back) and self.known[job_id].cancel:
            self.known[job_id].to(GONE)
            self.store.canceled(job_id, epoch=self._epoch(job_id, back))

    @rule(job_id=jobs)
    def the_worker_dies(self, job_id: JobId) -> None:
        """Its lease runs out, and a sweep finds it."""
        if job_id in self.known and self.known[job_id].state is RUN:
            self.store._redis.zadd("{photomend}:leases", {job_id: 1})
            self.known[job_id].put_back()
            report = self.store.sweep()
            assert report.requeued + report.ended == 1

    @rule(job_id=jobs)
    def time_passes(self, job_id: JobId) -> None:
        if job_id in self.known and self.known[job_id].state in TERMINAL - {OLD}:
            self.store._redis.zadd("{photomend}:expiry", {job_id: 1})
            self.known[job_id].to(OLD)
            assert self.store.sweep().expired == 1

    @rule(limit=st.integers(1, 5), delivered=st.booleans())
    def tell(self, limit: int, delivered: bool) -> None:
        for delivery in self.store.due_callbacks(limit=limit, lease_s=1e6):
            if delivered:
                self.told[delivery.id] += 1
                self.store.callback_delivered(delivery.id)
            else:
                self.store.callback_failed(delivery.id, retry_in_s=0.0, error="503")

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
    def everything_fits_together(self) -> None:
        if hasattr(self, "known"):
            assert list(self.doctor.examine_jobs(list(self.known))) == []

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

    def _epoch(self, job_id: JobId, back: int) -> int:
        return (self.known[job_id].epoch if job_id in self.known else 1) - back

    def _owned(self, job_id: JobId, back: int) -> bool:
        return job_id in self.known and self.known[job_id].state is RUN and not back

    def _refused(self, job_id: JobId, back: int, call: Any, **args: Any) -> None:
        if job_id not in self.known:
            return
        fenced = back or self.known[job_id].state is Q
        with pytest.raises(Fenced if fenced else IllegalMove):
            call(job_id, epoch=self._epoch(job_id, back), **args)


@pytest.mark.timeout(120)
def test_random_lives_keep_every_promise(redis_url: str) -> None:
    machine = type("LivesHere", (Lives,), {"redis_url": redis_url})
    calm = settings(
        max_examples=50,
        stateful_step_count=35,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=calm)
