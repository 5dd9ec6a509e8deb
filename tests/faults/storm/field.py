"""The installation that the storm strikes: real servers, real processes, a line of its own to each of them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from celery import Celery

from jobs.errors import StoreUnavailable
from jobs.model import JobId, Priority, new_job_id
from jobs.queue import KEY_PREFIX, QUEUES, TASK, make_celery
from jobs.settings import JobsSettings
from photomend.stack.ports import free_ports
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.conftest import CALLBACK_SECRET
from tests.faults.history import History
from tests.faults.proxy import LOOPBACK, Proxy
from tests.faults.storm.receiver import Receiver
from tests.faults.storm.watch import Watch, is_alive, kill
from tests.fleet import Fleet, wait_for

LEASE_S = 3.0
RESEND_S = 1.0
DRAIN_S = 2.0
#: Device work without news for so long counts as hung (seconds); longer than a busy machine may stall.
LANE_S = 3.0
NODES, PROCESSES, THREADS = ("a", "b"), 2, 2
KEEPERS = ("k1", "k2")
BUCKET = "storm"
#: A receiver that is down for a while must not cost anyone his event; the product's own schedule lasts three days.
SCHEDULE_S = [0.5] * 200
#: What a busy machine may add to anything (seconds).
PATIENCE_S = 6.0
#: Starting all processes on a busy machine (seconds).
READY_S = 90.0

_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>storm</Message></Error>"


class S3Line(Proxy):
    """The line to the storage, which may also answer in the storage's place: 503 SlowDown."""

    is_failing = False
    failed = 0  #: requests that were answered so

    def fail(self) -> None:
        """From now on; those who are connected are cut off, so that they ask anew."""
        self.is_failing = True
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if not self.is_failing:
            await super()._serve(reader, client)
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.failed += 1
            head = f"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: {len(_SLOW_DOWN)}\r\n\r\n"
            client.write(head.encode() + _SLOW_DOWN)
            await client.drain()
        client.close()


class Field:
    """Redis, S3, two keepers and two nodes of two worker processes each."""

    #: Kinds of faults that make no sense here.
    spares: frozenset[str] = frozenset()
    #: How long after its worker fell silent a job is given to another (seconds).
    takeover_s: float = LEASE_S
    #: How long the next fault waits for the jobs of a killed process to run again (seconds).
    recovery_s: float = 3 * LEASE_S
    #: How long a poisoned picture may wait for its first run; a miss would leave it behind and send another (seconds).
    poison_s: float = 60.0
    #: Where messages wait for workers: keys of Redis.
    queue_keys: tuple[str, ...] = tuple(KEY_PREFIX + queue for queue in QUEUES.values())

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        self.redis = RedisServer(folder / "redis", free_ports(1)[0])
        self.redis.start()
        self._stack.callback(self._stop_redis)
        self.s3 = S3Server(folder / "s3")
        self.s3.start()
        self._stack.callback(self.s3.stop)
        self.s3_line = self._stack.enter_context(S3Line(int(self.s3.endpoint_url.rsplit(":", 1)[1])))
        self.lines = {
            name: self._stack.enter_context(Proxy(self.redis.port, seed=index))
            for index, name in enumerate((*NODES, "keepers", "clients"))
        }
        self.history = History(folder / "history.jsonl")
        self.watch = Watch(self.history)
        self.receiver = self._stack.enter_context(Receiver(self.history))
        # Its own clients, and whoever checks in the end, reach the storage unharmed.
        self.settings = JobsSettings(
            redis_url=self.redis_url_of("clients"),
            s3_endpoint_url=self.s3.endpoint_url,
            s3_region=self.s3.region,
            s3_access_key_id=self.s3.access_key,
            s3_secret_access_key=self.s3.secret_key,
            bucket=BUCKET,
            callback_secret=CALLBACK_SECRET,
            callback_allow_hosts=(self.receiver.address,),
            lease_s=LEASE_S,
            resend_after_s=RESEND_S,
        )
        self.fleet = Fleet(self.settings, folder)
        self._stack.callback(self.fleet.close)
        self.fleet.blobs.ensure_bucket(BUCKET)
        self.celery = self.make_celery()
        for name in KEEPERS:
            self.start_keeper(name)
        for name in NODES:
            self.start_node(name)
        wait_for(self.is_complete, what="all worker processes are ready", within_s=READY_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- processes

    def start_keeper(self, name: str) -> None:
        self._processes[name] = self.fleet.keeper(
            name,
            PHOTOMEND_REDIS_URL=self.redis_url_of("keepers"),
            PHOTOMEND_S3_ENDPOINT_URL=self.s3_url(),
            PHOTOMEND_CALLBACK_SCHEDULE_S=str(SCHEDULE_S),
            PHOTOMEND_CALLBACK_TIMEOUT_S="2",
            PHOTOMEND_SWEEP_EVERY_S="0.5",
        )

    def start_node(self, name: str) -> None:
        self._processes[name] = self.fleet.command(
            f"node-{name}",
            [sys.executable, "-m", "tests.faults.storm.supervisor", str(PROCESSES)],
            PHOTOMEND_NODE_NAME=name,
            PHOTOMEND_REDIS_URL=self.redis_url_of(name),
            PHOTOMEND_S3_ENDPOINT_URL=self.s3_url(),
            PHOTOMEND_THREADS=str(THREADS),
            PHOTOMEND_DRAIN_S=str(DRAIN_S),
            PHOTOMEND_LANE_FLOOR_S=str(LANE_S),
            PHOTOMEND_LANE_FIRST_S=str(LANE_S),
            PHOTOMEND_SLOTS_EVERY_S="0.5",
        )

    def drain(self, pid: int) -> bool:
        """SIGTERM to a worker process; whether it left in good time."""
        return kill(pid, signal.SIGTERM) and until(lambda: not is_alive(pid), DRAIN_S + PATIENCE_S)

    def kill(self, name: str) -> int:
        """SIGKILL to a keeper or a supervisor; its wait status."""
        process = self._processes[name]
        process.kill()
        return process.wait()

    def pids_of(self, node: str) -> list[int]:
        """The worker processes of a node that live now; asked of the kernel, since Redis may be away."""
        return [pid for pid in children(self._processes[node].pid) if is_alive(pid)]

    def all_pids(self) -> list[int]:
        return [pid for node in NODES for pid in self.pids_of(node)]

    def node_of(self, pid: int) -> str | None:
        return next((node for node in NODES if pid in self.pids_of(node)), None)

    def stop_processes(self) -> None:
        """SIGTERM to everyone, in good order."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(DRAIN_S + 25.0)

    def ready_pids(self) -> list[int]:
        """Worker processes that say that they take jobs; none while Redis is away."""
        try:
            return [int(slots.worker.split(":")[1]) for slots in self.fleet.store.slots()]
        except StoreUnavailable:
            return []

    # -- messages

    def make_celery(self) -> Celery:
        return make_celery(self.settings)

    def send(self, job_id: JobId) -> None:
        """One more message for a job."""
        for queue in QUEUES.values():
            self.celery.send_task(TASK, args=(job_id,), queue=queue, ignore_result=True)

    def forge(self) -> int:
        """Ids that nobody submitted, words that are no ids, another task, another serializer; how many messages."""
        queue = QUEUES[Priority.INTERACTIVE]
        forged = ((new_job_id(),), ("../../etc/passwd",), (7,), ({"job": 1},), (), ("job_" + "g" * 32, "more"))
        for args in forged:
            self.celery.send_task(TASK, args=args, queue=queue, ignore_result=True)
        self.celery.send_task("photomend.erase", args=(new_job_id(),), queue=queue, ignore_result=True)
        self.celery.send_task(TASK, args=(new_job_id(),), queue=queue, ignore_result=True, serializer="pickle")
        return len(forged) + 2

    # -- Redis

    def kill_redis(self) -> None:
        assert self.redis.child is not None
        kill(self.redis.child.pid, signal.SIGKILL)
        wait_for(lambda: not self.redis.child.is_running, what="Redis is gone")  # type: ignore[union-attr]

    def restart_redis(self) -> float:
        """When it answered again."""
        self.redis.start()
        return time.monotonic()

    def answers(self) -> bool:
        try:
            self.fleet.store.ping()
        except StoreUnavailable:
            return False
        return True

    def heal(self) -> None:
        """Everything works again from now on, as far as the field can make it."""
        for line in (*self.lines.values(), self.s3_line):
            line.heal()
        self.s3_line.is_failing = False
        self.receiver.is_down = False
        for pid in self.all_pids():
            kill(pid, signal.SIGCONT)

    def _stop_redis(self) -> None:
        if self.redis.child is not None:
            kill(self.redis.child.pid, signal.SIGCONT)
        self.redis.stop()

    def is_complete(self) -> bool:
        """All worker processes take jobs."""
        return len(self.ready_pids()) == len(NODES) * PROCESSES

    def redis_url_of(self, line: str) -> str:
        return f"redis://{LOOPBACK}:{self.lines[line].port}/0"

    def s3_url(self) -> str:
        return f"http://{LOOPBACK}:{self.s3_line.port}"


def until(claim: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def children(pid: int) -> Iterator[int]:
    """The processes that ``pid`` started, by the kernel's list."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())
