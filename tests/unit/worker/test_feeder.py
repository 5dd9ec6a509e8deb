"""Who gets the free slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from jobs.model import JobId, Priority, new_job_id
from jobs.queue import QUEUES
from jobs.store import Slots
from tests.unit.worker.clock import FakeClock
from worker.feeder import RESEND_EVERY_S, Feeder, Room, room

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


def slots(free: int, total: int = 4, *, draining: bool = False) -> Slots:
    return Slots(worker=str(new_job_id()), queues=(), free=free, total=total, draining=draining)


class World:
    """Backlogs, workers and messages as numbers. A sent job is claimed and done when ``work`` is called."""

    def __init__(self, *, interactive: int = 0, batch: int = 0, workers: Sequence[Slots] = ()) -> None:
        self.waiting = Counter({INTERACTIVE: interactive, BATCH: batch})
        self.sent: dict[JobId, Priority] = {}
        self.messages: list[tuple[JobId, str]] = []
        self.overdue: list[tuple[JobId, Priority]] = []
        self.workers = tuple(workers)
        self.depths: dict[str, int] = {}

    def slots(self) -> tuple[Slots, ...]:
        return self.workers

    def counts(self) -> dict[str, int]:
        sent = Counter(self.sent.values())
        return {f"sent_{p}": sent[p] for p in Priority} | {f"waiting_{p}": self.waiting[p] for p in Priority}

    def take(self, *, credits: int, priority: Priority) -> tuple[JobId, ...]:
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
