"""A lease's arithmetic, without threads: time is a number and Redis a list of answers."""

from __future__ import annotations

import pytest

from jobs.errors import JobNotFound, StoreUnavailable
from jobs.model import LOCAL_TENANT, Job, JobId, ObjectRef, Progress, new_job_id
from jobs.store import Beat
from tests.unit.worker.clock import FakeClock
from worker.lease import MARGIN, Lease, Stop, Stopped

LEASE_S = 10.0


class Answers:
    """Beats that are answered as listed; each takes ``takes_s``."""

    def __init__(self, clock: FakeClock, *answers: Beat | Exception, takes_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[int, Progress | None]] = []
        self._clock = clock
        self._takes_s = takes_s

    def beat(self, job_id: JobId, *, epoch: int, lease_s: float, progress: Progress | None) -> Beat:
        self.heard.append((epoch, progress))
        self._clock.now += self._takes_s
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def lease_on(clock: FakeClock, answers: Answers, *, alive: bool = True) -> Lease:
    job = Job(id=new_job_id(), tenant=LOCAL_TENANT, input=ObjectRef(bucket="b", key="k"), attempt=1, epoch=7)
    return Lease(answers, job, lease_s=LEASE_S, claimed_at=clock.now, is_alive=lambda: alive, clock=clock)


def test_an_unrenewed_lease_is_given_up_before_anyone_else_may_have_it() -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock))
    clock.now += LEASE_S * (1 - MARGIN) - 0.01
    lease.check()
    clock.now += 0.02
    with pytest.raises(Stopped) as stopped:
        lease.check()
    assert stopped.value.reason is Stop.LOST
    assert clock.now < 1000 + LEASE_S


def test_a_beat_renews_from_when_it_was_sent_not_from_when_it_was_answered() -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock, Beat.OK, takes_s=3.0))
    clock.now += 4.0
    lease.beat()
    assert lease.safe_until == 1000 + 4.0 + LEASE_S * (1 - MARGIN)


def test_beats_that_fail_do_not_renew_and_the_last_one_in_time_saves_the_job() -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock, StoreUnavailable("gone"), StoreUnavailable("gone"), Beat.OK))
    for _ in range(3):
        lease.check()
        clock.now += 2.5
        lease.beat()
    lease.check()
    assert lease.safe_until == clock.now + LEASE_S * (1 - MARGIN)


def test_a_lease_once_lost_stays_lost_though_redis_comes_back() -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock, Beat.OK))
    clock.now += LEASE_S
    assert lease.stopping is Stop.LOST
    lease.beat()
    assert lease.stopping is Stop.LOST


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Beat.CANCEL, Stop.CANCEL),
        (Beat.DEADLINE, Stop.DEADLINE),
        (Beat.FENCED, Stop.FENCED),
        (JobNotFound("gone"), Stop.FENCED),
    ],
)
def test_what_a_beat_says_stops_the_job_at_its_next_step(answer: Beat | Exception, reason: Stop) -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock, answer))
    lease.check()
    lease.beat()
    with pytest.raises(Stopped) as stopped:
        lease.check()
    assert stopped.value.reason is reason


def test_the_first_reason_counts() -> None:
    clock = FakeClock()
    lease = lease_on(clock, Answers(clock, Beat.CANCEL))
    lease.stop(Stop.DRAIN)
    lease.beat()
    assert lease.stopping is Stop.DRAIN


def test_a_job_without_a_pulse_is_not_renewed() -> None:
    clock = FakeClock()
    answers = Answers(clock)
    lease = lease_on(clock, answers, alive=False)
    lease.beat()
    assert answers.heard == []
    assert lease.stopping is Stop.HUNG


def test_progress_goes_with_the_epoch_and_never_falls() -> None:
    clock = FakeClock()
    answers = Answers(clock, Beat.OK, Beat.OK)
    lease = lease_on(clock, answers)
    lease.tell(Progress(stage="restore", percent=40))
    lease.beat()
    lease.tell(Progress(stage="parse", percent=30))
    lease.beat()
    assert answers.heard == [
        (7, Progress(stage="restore", percent=40)),
        (7, Progress(stage="parse", percent=40)),
    ]
