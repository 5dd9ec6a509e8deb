"""Who gets the free slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from jobs.model import JobId, Priority, new_job_id
from jobs.queue import QUEUES
from jobs.store import Slots
from tests.unit.worker.clock import FakeClock
from worker.feeder import (
    MISSED_FOR_S,
    RESEND_EVERY_S,
    REST_S,
    REST_SHARE,
    Attendance,
    Feeder,
    Room,
    Rounds,
    room,
    secluded,
)

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


def slots(free: int, total: int = 4, *, draining: bool = False, rested: bool = True) -> Slots:
    return Slots(worker=str(new_job_id()), queues=(), free=free, total=total, draining=draining, rested=rested)


class World:
    """Backlogs, workers and messages as numbers. A sent job is claimed and done when ``work`` is called."""

    def __init__(self, *, interactive: int = 0, batch: int = 0, workers: Sequence[Slots] = ()) -> None:
        self.waiting = Counter({INTERACTIVE: interactive, BATCH: batch})
        self.sent: dict[JobId, Priority] = {}
        self.messages: list[tuple[JobId, str]] = []
        self.overdue: list[tuple[JobId, Priority]] = []
        self.workers = tuple(workers)
        self.depths: dict[str, int] = {}
        self.suspects = 0
        self.secluded: list[str] = []

    def slots(self) -> tuple[Slots, ...]:
        return self.workers

    def counts(self) -> dict[str, int]:
        sent = Counter(self.sent.values())
        lanes = {f"sent_{p}": sent[p] for p in Priority} | {f"waiting_{p}": self.waiting[p] for p in Priority}
        return lanes | {"waiting_suspect": self.suspects, "secluded": len(self.secluded)}

    def seclude(self, worker: str, *, limit: int, ttl_s: float) -> bool:
        self.secluded.append(worker)
        return True

    def take(self, *, credits: int, priority: Priority, sent: int | None = None) -> tuple[JobId, ...]:
        assert sent == len(self.sent), "what was on its way when the credits were counted, and what was sent since"
        count = min(credits, self.waiting[priority])
        self.waiting[priority] -= count
        taken = tuple(new_job_id() for _ in range(count))
        self.sent.update(dict.fromkeys(taken, priority))
        return taken

    def overdue_sent(self, *, limit: int, priorities: Sequence[Priority]) -> tuple[tuple[JobId, Priority], ...]:
        return tuple(x for x in self.overdue if x[1] in priorities)[:limit]

    def send(self, job_id: JobId, queue: str) -> None:
        self.messages.append((job_id, queue))

    def depth(self, queue: str) -> int:
        return self.depths.get(queue, 0)

    def work(self) -> None:
        self.sent.clear()

    @property
    def started(self) -> Counter[str]:
        return Counter(queue for _, queue in self.messages)


def feeder(world: World, *, share: float = 0.1, clock: FakeClock | None = None) -> Feeder:
    return Feeder(world, world, batch_share=share, clock=clock or FakeClock())


@pytest.mark.parametrize(
    ("workers", "sent", "expected"),
    [
        ([], 0, Room(all=0, batch=0)),
        ([slots(4)], 0, Room(all=4, batch=3)),
        ([slots(4), slots(1)], 0, Room(all=5, batch=3)),
        ([slots(4)], 3, Room(all=1, batch=0)),
        ([slots(2)], 5, Room(all=0, batch=0)),
        ([slots(1, total=1)], 0, Room(all=1, batch=1)),
        ([slots(4, draining=True)], 0, Room(all=0, batch=0)),
        ([slots(0)], 0, Room(all=0, batch=0)),
    ],
)
def test_there_is_room_for_the_free_slots_less_what_is_on_its_way(
    workers: list[Slots], sent: int, expected: Room
) -> None:
    assert room(workers, sent=sent) == expected


def test_no_more_is_sent_than_there_are_slots() -> None:
    world = World(interactive=100, workers=[slots(3), slots(2)])
    feed = feeder(world)
    assert feed.step() == 5
    assert feed.step() == 0, "what is on its way is counted"
    world.work()
    assert feed.step() == 5


def test_interactive_goes_first_and_batch_fills_what_is_left() -> None:
    world = World(interactive=2, batch=100, workers=[slots(8, total=8)])
    feeder(world).step()
    assert world.started == {QUEUES[INTERACTIVE]: 2, QUEUES[BATCH]: 5}


def test_batch_leaves_one_thread_of_each_worker_for_whoever_comes() -> None:
    world = World(batch=100, workers=[slots(4), slots(4)])
    feeder(world).step()
    assert world.started == {QUEUES[BATCH]: 6}


def test_batch_gets_its_share_however_many_interactive_jobs_wait() -> None:
    world = World(interactive=10_000, batch=10_000, workers=[slots(2)])
    feed = feeder(world, share=0.25)
    for _ in range(200):
        feed.step()
        world.work()
    started = world.started
    assert started.total() == 400
    assert started[QUEUES[BATCH]] / started.total() == pytest.approx(0.25, abs=0.02)


def test_a_share_that_was_not_used_is_not_saved_up() -> None:
    world = World(interactive=10_000, workers=[slots(4)])
    feed = feeder(world, share=0.5)
    for _ in range(50):
        feed.step()
        world.work()
    world.messages.clear()
    world.waiting[BATCH] = 10_000
    for _ in range(10):
        feed.step()
        world.work()
    assert world.started[QUEUES[BATCH]] <= 0.5 * 40 + 4


def test_a_lost_message_is_sent_again_only_where_the_queue_is_empty() -> None:
    clock = FakeClock()
    world = World(workers=[slots(4)])
    lost, waiting = new_job_id(), new_job_id()
    world.overdue = [(lost, INTERACTIVE), (waiting, BATCH)]
    world.sent = dict(world.overdue)
    world.depths = {QUEUES[BATCH]: 1}
    feed = feeder(world, clock=clock)
    feed.step()
    assert world.messages == [(lost, QUEUES[INTERACTIVE])]
    feed.step()
    assert len(world.messages) == 1, "not at every step"
    clock.now += RESEND_EVERY_S
    feed.step()
    assert len(world.messages) == 2


# -- suspects


def test_the_idlest_worker_is_chosen_for_a_suspect_also_where_none_is_free() -> None:
    busy, idler, leaving = slots(0), slots(1), slots(4, draining=True)
    world = World(interactive=9, workers=[busy, idler, leaving])
    world.suspects = 1
    feed = feeder(world)
    feed.step()
    assert world.secluded == [idler.worker]
    feed.step()
    assert len(world.secluded) == 1, "one at a time"
    world = World(interactive=9, workers=[busy])
    world.suspects = 1
    feeder(world).step()
    assert world.secluded == [busy.worker]


def test_nobody_is_chosen_while_no_suspect_waits() -> None:
    world = World(interactive=9, workers=[slots(4)])
    feeder(world).step()
    assert world.secluded == []


@pytest.mark.parametrize(
    ("suspects", "workers", "limit"), [(1, 1, 1), (8, 40, 1), (9, 40, 2), (900, 40, 10), (99, 3, 1)]
)
def test_many_suspects_get_more_workers_but_never_the_fleet(suspects: int, workers: int, limit: int) -> None:
    assert secluded([slots(1)] * workers, suspects=suspects, others_wait=True)[1] == limit


def test_workers_that_are_gone_are_waited_for_before_another_runs_a_suspect_while_jobs_wait() -> None:
    clock = FakeClock()
    fleet = [slots(1) for _ in range(4)]
    world = World(interactive=9, workers=fleet)
    feed = feeder(world, clock=clock)
    feed.step()
    world.suspects, world.workers = 1, tuple(fleet[1:])
    feed.step()
    assert world.secluded == [], "one of four is as many as may be kept for suspects, and it died of one"
    world.workers = tuple(fleet)
    feed.step()
    assert len(world.secluded) == 1


@pytest.mark.parametrize("way", ["it does not come back", "nobody waits"])
def test_suspects_do_not_wait_for_ever_for_a_worker_that_is_gone(way: str) -> None:
    clock = FakeClock()
    fleet = [slots(1) for _ in range(4)]
    world = World(interactive=9 if way == "it does not come back" else 0, workers=fleet)
    feed = feeder(world, clock=clock)
    feed.step()
    world.suspects, world.workers = 1, tuple(fleet[1:])
    if way == "it does not come back":
        clock.now += MISSED_FOR_S + 1
    feed.step()
    assert len(world.secluded) == 1


def test_the_most_of_the_last_minute_are_the_fleet() -> None:
    clock = FakeClock()
    attendance = Attendance(clock)
    heard = []
    for present in (2, 5, 3, 4, 4, 1):
        heard.append(attendance.missing(present))
        clock.now += MISSED_FOR_S / 3
    assert heard == [0, 0, 2, 1, 1, 3]


def test_after_a_suspect_a_worker_has_rest_while_other_jobs_wait() -> None:
    tired = slots(4, rested=False)
    assert secluded([tired], suspects=1, others_wait=True)[0] is None
    assert secluded([tired], suspects=1, others_wait=False)[0] == tired.worker
    assert secluded([tired, slots(0)], suspects=1, others_wait=True)[0] != tired.worker


# -- when it looks


class Store:
    """Nudges and a lock, as they are told to be; waiting for a nudge takes time."""

    def __init__(self, clock: FakeClock, *, nudges: Sequence[bool], is_mine: bool = True) -> None:
        self._clock = clock
        self._nudges = list(nudges)
        self._is_mine = is_mine
        self.locked: list[float] = []

    def nudged(self, *, within_s: float) -> bool:
        is_nudged = self._nudges.pop(0)
        self._clock.now += 0.0 if is_nudged else within_s
        return is_nudged

    def lock(self, name: str, *, ttl_s: float) -> bool:
        self.locked.append(ttl_s)
        return self._is_mine


def test_a_feeder_looks_when_it_is_nudged_and_in_its_turn_every_so_often() -> None:
    clock = FakeClock(0.0)
    store = Store(clock, nudges=[True, False, True])
    looked: list[float] = []
    rounds = Rounds(store, lambda: looked.append(clock.now), every_s=0.5, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        rounds.step()
    assert looked == pytest.approx([0.0, 0.5 + REST_S, 0.5 + 2 * REST_S])
    assert len(store.locked) == 1, "a nudge is heard by one keeper alone, and needs no lock"
    assert store.locked[0] < 0.5


def test_a_round_that_another_keeper_makes_is_left_to_it() -> None:
    clock = FakeClock()
    looked: list[float] = []
    rounds = Rounds(
        Store(clock, nudges=[False], is_mine=False),
        lambda: looked.append(0.0),
        every_s=0.5,
        clock=clock,
        sleep=clock.sleep,
    )
    rounds.step()
    assert looked == []


def test_however_many_nudges_come_a_feeder_rests_longer_than_it_works() -> None:
    clock = FakeClock(0.0)
    rounds = Rounds(
        Store(clock, nudges=[True] * 10), lambda: clock.sleep(0.25), every_s=0.5, clock=clock, sleep=clock.sleep
    )
    for _ in range(10):
        rounds.step()
    assert clock.now == pytest.approx(10 * 0.25 * (1 + REST_SHARE))
