"""What the life of a job costs beyond its work, on an installation that nothing strikes.

The lane of one process is kept busy with pieces of a known length; whatever time it does not work while jobs wait is
the life cycle's: messages, claims, beats, commits, feeding. Storage is left out (objects in memory): it is work, too.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import redis

from jobs.model import ObjectRef, Priority
from jobs.settings import JobsSettings
from jobs.states import JobState
from photomend.stack.redis import RedisServer
from tests.doubles import MemoryBlobs
from tests.faults.pictures import picture
from tests.fleet import Fleet, wait_for

APP = "tests.faults.storm.overhead_worker:app"
#: As many as a process with a GPU has.
THREADS = 8
#: One job's work (seconds): a small one, so that a cost per job would show.
WORK_S = 0.05
#: Jobs that come one by one to an idle fleet, and how long the background is listened to (seconds).
SINGLES, BACKGROUND_S = 15, 3.0
BUCKET = "overhead"


class Wire:
    """Counts the round trips of all clients of a Redis, by its own MONITOR; what scripts do inside is none."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port)
        self._monitor = self._client.monitor()
        self.count = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Wire:
        self._monitor.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._monitor.connection.disconnect()
        self._thread.join(5.0)

    def _listen(self) -> None:
        try:
            while True:
                if self._monitor.next_command()["client_type"] != "lua":
                    self.count += 1
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return


def measure(folder: Path, jobs: int) -> dict[str, Any]:
    """Figures of ``jobs`` jobs through one process with a busy lane, and of some that find it idle."""
    folder.mkdir(parents=True)
    server = RedisServer(folder / "redis")
    server.start()
    # No storage is asked: the worker's objects lie in its memory.
    settings = JobsSettings(redis_url=server.url, s3_endpoint_url="http://127.0.0.1:9", bucket=BUCKET)
    fleet = Fleet(settings, folder, PHOTOMEND_THREADS=str(THREADS))
    try:
        fleet.keeper()
        fleet.worker("busy", threads=THREADS, app=APP)
        pickups = _singles(fleet)
        with Wire(server.port) as wire:
            time.sleep(BACKGROUND_S)
            background = wire.count / BACKGROUND_S
            wire.count = 0
            began = time.monotonic()
            overhead_ms = _busy_lane(fleet, jobs)
            trips = wire.count - background * (time.monotonic() - began)
    finally:
        fleet.close()
        server.stop()
    return {
        "overhead_ms_per_job": round(overhead_ms, 2),
        "redis_round_trips_per_job": round(trips / jobs, 1),
        "accepted_to_started_ms_p50": round(1000 * median(pickups), 1),
    }


def _busy_lane(fleet: Fleet, jobs: int) -> float:
    ids = [fleet.submit(_REF, priority=Priority.BATCH) for _ in range(jobs)]
    wait_for(lambda: fleet.store.counts()["processing"] == 0 and _waiting(fleet) == 0, what="all is done", within_s=120)
    done = [fleet.store.get(job_id) for job_id in ids]
    assert all(job.state is JobState.SUCCEEDED for job in done)
    spans = [(job.started_at, job.completed_at) for job in done if job.started_at and job.completed_at]
    # The first jobs fill the lane while the others are submitted; it is measured while it is full.
    ends = sorted(end for _, end in spans)[THREADS:]
    work_s = _work_of(fleet, jobs)
    return 1000 * ((ends[-1] - ends[0]) / (len(ends) - 1) - work_s)


def _work_of(fleet: Fleet, jobs: int) -> float:
    """What a piece really took in the lane (a sleep is a little longer than it should be)."""
    lines = (fleet.folder / "lane.jsonl").read_text().splitlines()[-jobs:]
    times: Sequence[float] = [json.loads(line) for line in lines]
    return sum(times) / len(times)


def _singles(fleet: Fleet) -> list[float]:
    found = []
    for _ in range(SINGLES):
        job = fleet.ended(fleet.submit(_REF))
        assert job.started_at is not None
        found.append(job.started_at - job.created_at)
        time.sleep(0.1)
    return found


def _waiting(fleet: Fleet) -> int:
    counts = fleet.store.counts()
    return sum(counts[f"{where}_{lane}"] for where in ("waiting", "sent") for lane in Priority)


class OneObject(MemoryBlobs):
    """Holds the picture that every job names."""

    def __init__(self) -> None:
        super().__init__()
        self.ensure_bucket(BUCKET)
        self.put(_REF, picture("overhead", work_s=WORK_S), content_type="image/png")


class Stopwatch:
    """Notes how long the lane was at work for each job."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "lane.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, seconds: float) -> None:
        os.write(self._file, f"{seconds}\n".encode())


_REF = ObjectRef(bucket=BUCKET, key="in/picture.png")
