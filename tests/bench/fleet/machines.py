"""GPUs as a fleet has them: a worker process each, with slots, lane and leases, until its machine is taken.

A worker makes the calls of ``worker/node.py`` and ``worker/run.py``, in their order and at their times, to the real
store; its threads, Celery's consumer and the networks are replaced by waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.backlog import Slots
from jobs.errors import Fenced, IllegalMove, JobNotFound
from jobs.model import Job, JobId, Priority, Progress, Result
from jobs.queue import KEY_PREFIX, QUEUES
from jobs.store import Beat, JobStore
from tests.bench.fleet.virtual import Hub, Machine, Server, Signal
from tests.bench.fleet.work import Work
from worker.crew import Crew
from worker.lease import BEATS_PER_LEASE, TELL_EVERY_S

#: As in operation by default.
SLOTS_EVERY_S = 1.0
LEASE_S = 10.0
MOST_JOBS = 8
#: From a message in Redis to its task: what Celery's event loop takes on the worker's machine.
CELERY_S = 0.002
#: The networks that a worker publishes with every word.
MODELS = tuple(
    {"name": name, "sha256": f"{number}" * 64, "licence": "Apache-2.0", "kind": kind}
    for number, (name, kind) in enumerate(
        [
            ("gfpgan-1.4", "restorer"),
            ("preview", "restorer"),
            ("retinaface-resnet50", "detector"),
            ("parsenet", "parser"),
            ("realesrgan-x2plus", "upsampler"),
        ]
    )
)
#: As long as one of Celery's with this task's name and an id.
_MESSAGE = "x" * 620


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What the fleet did. Times are virtual."""

    done_at: list[tuple[float, float]]  #: when a job ended, its lane seconds
    waits: list[tuple[float, float, float]]  #: interactive jobs: submitted, started, ended
    lost: list[float]  #: lane seconds that a loss of a machine threw away, one entry for each loss
    refused: int = 0  #: results that came too late: another attempt had the job


class Broker:
    """Celery's queues: the commands that kombu sends for a message, and whose turn it is to have one."""

    def __init__(self, hub: Hub, client: Any) -> None:
        self._hub, self._client = hub, client
        self._messages: dict[str, deque[JobId]] = {name: deque() for name in QUEUES.values()}
        self._idle: deque[Gpu] = deque()

    def send(self, job_id: JobId, queue: str, *, client: Any) -> None:
        client.smembers(f"{KEY_PREFIX}_kombu.binding.photomend")
        client.lpush(f"{KEY_PREFIX}{queue}", f"{job_id}{_MESSAGE}")
        self._messages[queue].append(job_id)
        self._hand_out()

    def depth(self, queue: str) -> int:
        return len(self._messages[queue])

    def offer(self, gpu: Gpu) -> None:
        """It has a free thread and waits for a message, behind those that wait already."""
        if not gpu.is_waiting:
            gpu.is_waiting = True
            self._idle.append(gpu)
            self._hand_out()

    def receive(self, queue: str) -> None:
        """What a consumer sends: the POP, the note that it has the message, and the note that it is done with it."""
        self._client.rpop(f"{KEY_PREFIX}{queue}")
        for note in ((("ZADD", {"t": 1.0}), ("HSET", "x")), (("ZREM", "t"), ("HDEL", "x"))):
            self._note(note)

    def _note(self, note: Any) -> None:
        index, unacked = f"{KEY_PREFIX}unacked_index", f"{KEY_PREFIX}unacked"
        with self._client.pipeline(transaction=False) as both:
            if note[0][0] == "ZADD":
                both.zadd(index, note[0][1]).hset(unacked, "x", _MESSAGE)
            else:
                both.zrem(index, "t").hdel(unacked, "x")
            both.execute()

    def _hand_out(self) -> None:
        while self._idle:
            queue = next((name for name, ids in self._messages.items() if ids), None)
            if queue is None:
                return
            gpu = self._idle.popleft()
            gpu.is_waiting = False
            if gpu.is_alive:
                gpu.take(self._messages[queue].popleft(), queue)


class Gpu(Machine):
    """One worker process on one GPU."""

    def __init__(
        self, name: str, *, hub: Hub, store: JobStore, broker: Broker, work_of: Callable[[Job], Work], ledger: Ledger
    ) -> None:
        super().__init__()
        self.name = name
        self.is_waiting = False
        self.since = hub.now
        self.died_at: float | None = None
        self._hub, self._store, self._broker = hub, store, broker
        self._work_of, self._ledger = work_of, ledger
        self._crew = Crew(least=2, most=MOST_JOBS)
        self._lane = Server(hub)
        self._busy = 0
        #: Jobs in hand -> the lane seconds that they have had.
        self._spent: dict[JobId, float] = {}

    def start(self, *, after_s: float) -> None:
        self._hub.spawn(self._live, machine=self, after_s=after_s)

    def kill(self) -> None:
        """The machine is gone, without a word: nothing is drained, its leases lapse."""
        self.is_alive = False
        self.died_at = self._hub.now
        self._ledger.lost.append(sum(self._spent.values()))

    def take(self, job_id: JobId, queue: str) -> None:
        """A message came. The next one is fetched while this one is looked at, if there is a thread."""
        self._busy += 1
        self._hub.spawn(self._see_through, job_id, queue, machine=self, after_s=CELERY_S)
        self._hub.spawn(self._fetch, machine=self, after_s=CELERY_S)

    def _live(self) -> None:
        self._fetch()
        while True:
            self._publish()
            self._hub.sleep(SLOTS_EVERY_S)

    def _fetch(self) -> None:
        if self._busy < self._crew.size:
            self._broker.offer(self)

    def _publish(self) -> None:
        total = self._crew.size
        lane = {
            "elapsed_s": round(self._hub.now, 1),
            "idle_share": 0.1,
            "restore": {"busy_s": 1.0, "runs": 9, "fill": 2.0},
        }
        free = max(0, total - self._busy)
        self._store.publish_slots(
            Slots(
                worker=self.name,
                queues=tuple(QUEUES.values()),
                free=free,
                total=total,
                models=MODELS,
                engine="photomend 0.1.0, torch 2.13.0 on cuda",
                heartbeat_s=SLOTS_EVERY_S,
                lane=lane,
            )
        )

    def _see_through(self, job_id: JobId, queue: str) -> None:
        self._broker.receive(queue)
        self._publish()
        claimed = self._store.claim(job_id, worker=self.name, lease_s=LEASE_S)
        if isinstance(claimed, Job):
            self._spent[job_id] = 0.0
            self._run(claimed)
            del self._spent[job_id]
        self._busy -= 1
        self._publish()
        self._fetch()

    def _run(self, job: Job) -> None:
        work = self._work_of(job)
        lease = _Lease(self._hub, self._store, job)
        self._hub.spawn(lease.beat_on, machine=self)
        lease.tell("fetch", 2)
        self._hub.sleep(work.fetch_s)
        self._compute(job, work, lease)
        lease.tell("store", 95)
        self._hub.sleep(work.store_s)
        self._commit(job, work)
        lease.is_over = True
        self._crew.learn(host_s=work.fetch_s + work.store_s, lane_s=work.lane_s)

    def _compute(self, job: Job, work: Work, lease: _Lease) -> None:
        begins = self._lane.reserve(work.lane_s)
        steps = 4
        for step in range(steps):
            self._hub.sleep_until(begins + work.lane_s * step / steps)
            self._spent[job.id] = work.lane_s * step / steps
            lease.tell("restore", 10 + 80 * step // steps)
        self._hub.sleep_until(begins + work.lane_s)
        self._spent[job.id] = work.lane_s

    def _commit(self, job: Job, work: Work) -> None:
        side = int((4 * work.megapixels * 1e6) ** 0.5)
        result = Result(
            artifacts=(),
            width=side,
            height=side,
            faces=tuple({"score": 0.9, "box": [0, 0, 9, 9], "status": "restored"} for _ in range(work.faces)),
            metrics={"restore_s": round(work.lane_s, 4), "megapixels": round(work.megapixels, 4)},
        )
        try:
            ended = self._store.commit(job.id, epoch=job.epoch, result=result)
        except (Fenced, IllegalMove, JobNotFound):
            self._ledger.refused += 1
            return
        self._ledger.done_at.append((self._hub.now, work.lane_s))
        if job.priority is Priority.INTERACTIVE:
            self._ledger.waits.append((ended.created_at, ended.started_at or 0.0, ended.completed_at or 0.0))


class _Lease:
    """The beats of ``worker/lease.py``: every third of a lease, and soon after there is something to tell."""

    def __init__(self, hub: Hub, store: JobStore, job: Job) -> None:
        self._hub, self._store, self._job = hub, store, job
        self._news = Signal(hub)
        self._progress: Progress | None = None
        self.is_over = False

    def tell(self, stage: str, percent: int) -> None:
        self._progress = Progress(stage=stage, percent=percent)
        self._news.wake()

    def beat_on(self) -> None:
        told: Progress | None = None
        while not self.is_over:
            if self._progress == told:
                self._news.wait(LEASE_S / BEATS_PER_LEASE)
            if self.is_over:
                return
            told = self._progress
            if self._store.beat(self._job.id, epoch=self._job.epoch, lease_s=LEASE_S, progress=told) is not Beat.OK:
                return
            self._hub.sleep(TELL_EVERY_S)
