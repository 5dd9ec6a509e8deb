"""The same storm on plain Celery: the same wishes, the same faults in the same order, as far as they apply."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.model import JobId, ObjectRef
from tests.faults.history import Entry, Event
from tests.faults.storm.control_app import QUEUE, TASK, VISIBILITY_S, make_control
from tests.faults.storm.field import NODES, PATIENCE_S, PROCESSES, Field, until
from tests.faults.storm.run import Tell, plan, strike_phase
from tests.faults.storm.strikes import Strikes
from tests.faults.storm.traffic import Traffic, Wish, wishes
from tests.faults.storm.watch import is_alive, kill

APP = "tests.faults.storm.control_worker:app"
#: When nothing has been made visible for so long, though messages had the time to be delivered again, what is missing
#: is lost (seconds).
SILENCE_S = 3.0 * VISIBILITY_S
#: What misses is not sent again and again: poison keeps its processes too busy to be struck.
MISSES_PER_FAULT = 0.2
#: Callbacks are tasks of their own, which come after what they tell of (seconds).
TELL_S = 5.0
#: The longest wait for the end (seconds); poison is delivered again for ever.
CALM_S = 120.0


class ControlField(Field):
    """Redis, S3 and two Celery workers with two pool processes each; no keeper, and nobody to ask about a job."""

    #: A doubled message is two jobs to it; that is no fault of the kind that is counted here.
    spares = frozenset({"kill-keeper", "cancel", "messages-doubled"})
    queue_keys = (QUEUE,)
    takeover_s = float(VISIBILITY_S)
    recovery_s = 0.0
    poison_s = 10.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.messages: dict[JobId, tuple[Any, ...]] = {}

    def start_keeper(self, name: str) -> None:
        """There is none."""

    def start_node(self, name: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", APP, "--skip-checks", "--quiet", "worker"]
        options = ["-P", "prefork", "-c", str(PROCESSES), "-n", f"{name}@%h", "-Q", QUEUE]
        self._processes[name] = self.fleet.command(
            f"node-{name}",
            [*command, *options, "--without-gossip", "--without-mingle", "--without-heartbeat"],
            PHOTOMEND_REDIS_URL=self.redis_url_of(name),
            PHOTOMEND_S3_ENDPOINT_URL=self.s3_url(),
        )

    def ready_pids(self) -> list[int]:
        return self.all_pids()

    def drain(self, pid: int) -> bool:
        """A warm shutdown of the node; it is started again."""
        node = self.node_of(pid)
        if node is None:
            return False
        process = self._processes[node]
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(VISIBILITY_S + PATIENCE_S)
        left = process.poll() is not None
        self.kill(node)
        self.start_node(node)
        until(lambda: len(self.pids_of(node)) == PROCESSES)
        return left

    def make_celery(self) -> Celery:
        return make_control(self.settings.redis_url)

    def send(self, job_id: JobId) -> None:
        # A message is all there is: sent twice, it is two jobs.
        self.celery.send_task(TASK, args=self.messages[job_id], queue=QUEUE, ignore_result=True)

    def forge(self) -> int:
        for args in (("job_forged", self.settings.bucket, "in/nothing.png", None), (7,), ()):
            self.celery.send_task(TASK, args=args, queue=QUEUE, ignore_result=True)
        self.celery.send_task("control.erase", args=(), queue=QUEUE, ignore_result=True)
        return 4

    def stop_processes(self) -> None:
        pids = self.all_pids()
        for node in NODES:
            self.kill(node)
        for pid in filter(is_alive, pids):
            kill(pid, signal.SIGKILL)


class ControlTraffic(Traffic):
    """The same callers; there is no record to read, so what is visible is what the history says."""

    def ask(self, wish: Wish, ref: ObjectRef, fingerprint: str) -> JobId | None:
        del fingerprint
        field = self._field
        assert isinstance(field, ControlField)
        job_id = JobId(f"job_{wish.number:032x}")
        url = field.receiver.url if wish.has_callback else None
        field.messages[job_id] = (job_id, ref.bucket, ref.key, url)
        try:
            field.send(job_id)
        except (OperationalError, RedisError, OSError):
            return None
        return job_id

    def has_ended(self, job_id: JobId) -> bool:
        return self._field.watch.commits(job_id) > 0

    def look(self, job_id: JobId) -> None:
        """There is nothing to look at."""


def control(*, seed: int, jobs: int, faults: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """Figures of the control."""
    rng = random.Random(seed)
    planned = wishes(jobs, rng)
    began = time.monotonic()
    with ControlField(folder) as field:
        traffic = ControlTraffic(field, planned)
        strikes = Strikes(field, traffic, rng)
        traffic.start()
        strike_phase(
            strikes,
            traffic,
            plan(sorted(strikes.kinds), faults, rng),
            begin=0.0,
            tell=tell,
            misses_per_fault=MISSES_PER_FAULT,
        )
        traffic.allow(1.0)
        field.heal()
        _calm(field, traffic, tell)
        traffic.stop()
        field.stop_processes()
        return _figures(field.history.entries()) | {"seconds": round(time.monotonic() - began, 1)}


def _calm(field: ControlField, traffic: ControlTraffic, tell: Tell) -> None:
    calm_at = time.monotonic()

    def over() -> bool:
        left = traffic.left()
        tell(f"control, calm: {left} jobs left")
        time.sleep(0.5)
        silent = time.monotonic() - max(field.watch.last_commit(), calm_at) > SILENCE_S
        return traffic.is_done and (not left or silent)

    until(over, CALM_S)
    time.sleep(TELL_S)


def _figures(history: list[Entry]) -> dict[str, Any]:
    accepted = {e.job: e.facts for e in history if e.event is Event.ACCEPTED and e.job}
    good = {job for job, facts in accepted.items() if not facts["poison"]}
    visible: Counter[str] = Counter(e.job for e in history if e.event is Event.MOVED and e.job in good)
    told: dict[str, set[str]] = defaultdict(set)
    for entry in history:
        if entry.event is Event.TOLD and entry.job:
            told[entry.job].add(entry.facts["id"])
    runs = Counter(e.job for e in history if e.event is Event.BEGAN and e.job in accepted.keys() - good)
    kinds = Counter(e.facts["kind"] for e in history if e.event is Event.STRUCK)
    return {
        "jobs": len(accepted),
        "faults": kinds.total(),
        "kinds": len(kinds),
        "lost": sum(not visible[job] for job in good),
        "visible_duplicates": sum(visible[job] > 1 for job in good),
        "wrong_event_count": sum(len(told[job]) != int(accepted[job]["callback"]) for job in good),
        "poison_max_runs": max(runs.values(), default=0),
        "faults_by_kind": dict(sorted(kinds.items())),
    }
