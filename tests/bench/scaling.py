"""``python -m tests.bench.scaling`` (``make scaling``): how jobs per second grow with worker processes.

Redis, the S3 server, the keeper and Celery's worker processes are real. In the first part the device is a sleep of a
fixed length, so that 8 processes can be had on two cores; everything around it is real work: queueing, fetching,
decoding in the sandbox, encoding, storing. In the second part the preview pack mends real pictures on the CPU. Sizes
take turns, round by round, so that a busy machine meets all alike. It ends within six minutes; all figures go to
build/scaling/latest.json.

    make scaling
    make scaling ARGS="--workers 1,4 --rounds 1 --skip-real"
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from jobs.model import Job, JobId, ObjectRef, Priority
from jobs.options import JobOptions
from jobs.settings import JobsSettings
from jobs.states import TERMINAL, JobState
from photomend.demo.picture import old_photo
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.fleet import FAKE_APP, Fleet, wait_for

OUT = Path("build/scaling")
#: The fixed cost of a job on the fake device (seconds): so long that two cores can feed eight.
WORK_S = 2.0
#: Jobs at a time of a process: while one has the device, the others fetch, decode, encode and store.
THREADS = 3
#: In how many pieces the lane gets it: about a photo's detection, faces and mask.
STEPS = 3
#: Seconds of work for each process in a round.
ROUND_S = 24.0
#: The open load by which the time to a start is measured: jobs a second, for how long, each of how long on the device.
OPEN_RATE, OPEN_S, OPEN_WORK_S = 2.0, 9.0, 0.2
REAL_APP = "worker.app:app"
REAL_JOBS, REAL_ROUNDS = 48, 1
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One size in one round."""

    workers: int
    jobs: int
    jobs_a_s: float
    waits_s: tuple[float, ...]  #: from submit to start under the open load
    cpu_ms: dict[str, float]  #: computing time of a job: redis, keeper, storage, worker
    cores: float  #: busy in the mean, of all of these


class Site:
    """The servers and processes of one run."""

    def __init__(self, fleet: Fleet, redis: RedisServer, s3: S3Server, keeper: Popen[bytes]) -> None:
        self.fleet = fleet
        self._roots = {"redis": redis.child.pid, "keeper": keeper.pid}  # type: ignore[union-attr]
        self._s3 = [child.pid for child in s3.children]

    def cpu_s(self, workers: Sequence[Popen[bytes]]) -> dict[str, float]:
        """Computing time so far, with that of children."""
        spent = {name: _cpu_s([pid]) for name, pid in self._roots.items()}
        return spent | {"storage": _cpu_s(self._s3), "worker": _cpu_s([one.pid for one in workers])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8", help="sizes, separated by commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=float, default=WORK_S, help="seconds of a job on the fake device")
    parser.add_argument("--round-s", type=float, default=ROUND_S, help="seconds of work for each process in a round")
    parser.add_argument("--skip-real", action="store_true", help="without the real CPU pipeline")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    sizes = [int(word) for word in said.workers.split(",")]
    random.seed(said.seed)
    fake: list[Lap] = []
    real: list[Lap] = []
    with tempfile.TemporaryDirectory() as name, site(Path(name)) as here:
        for number in range(said.rounds):
            fake += [_fake_lap(here, size, work_s=said.work, round_s=said.round_s) for size in sizes]
            if not said.skip_real and number < REAL_ROUNDS:
                real += [_real_lap(here, size) for size in (1, 2)]
    told = {
        "seed": said.seed,
        "work_s": said.work,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "fake": [asdict(lap) for lap in fake],
        "real": [asdict(lap) for lap in real],
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "latest.json").write_text(json.dumps(told, indent=2) + "\n")
    for line in report(fake, real, work_s=said.work):
        _say(line)
    return 0


# -- what is measured


def _fake_lap(here: Site, size: int, *, work_s: float, round_s: float) -> Lap:
    picture = here.fleet.upload()
    options = JobOptions(seed=int(work_s * 1000))
    with workers(here.fleet, size, app=FAKE_APP, threads=THREADS, TEST_STEPS=str(STEPS)) as processes:
        _run(here.fleet, [picture] * (2 * size), options=JobOptions(seed=1))
        before, began = here.cpu_s(processes), time.monotonic()
        ended = _run(here.fleet, [picture] * max(6, int(size * round_s / work_s)), options=options)
        cpu = _less(here.cpu_s(processes), before)
        seconds = time.monotonic() - began
        waits = _open_load(here.fleet, picture)
    return _lap(size, ended, waits, cpu, seconds)


def _real_lap(here: Site, size: int) -> Lap:
    """The preview pack on the demo's picture; processes share the cores, as ``photomend worker --cpu N`` has it."""
    photo = here.fleet.folder / "photo.png"
    if not photo.exists():
        photo.write_bytes(old_photo())
    picture = here.fleet.upload(photo.read_bytes(), key="in/photo.png")
    threads = str(max(1, (os.cpu_count() or 1) // size))
    words = {"PHOTOMEND_ALLOW_PREVIEW": "1", "PHOTOMEND_DEVICE": "cpu", "OMP_NUM_THREADS": threads}
    with workers(here.fleet, size, app=REAL_APP, threads=THREADS, **words) as processes:
        _run(here.fleet, [picture] * (2 * size), options=JobOptions())
        before, began = here.cpu_s(processes), time.monotonic()
        ended = _run(here.fleet, [picture] * REAL_JOBS, options=JobOptions())
        cpu = _less(here.cpu_s(processes), before)
        seconds = time.monotonic() - began
    return _lap(size, ended, (), cpu, seconds)


def _lap(size: int, ended: list[Job], waits: Iterable[float], cpu: dict[str, float], seconds: float) -> Lap:
    assert all(job.state is JobState.SUCCEEDED for job in ended), [job.failure for job in ended if job.failure]
    return Lap(
        workers=size,
        jobs=len(ended),
        jobs_a_s=_pace(ended),
        waits_s=tuple(waits),
        cpu_ms={name: 1000 * spent / len(ended) for name, spent in cpu.items()},
        cores=sum(cpu.values()) / seconds,
    )


def _pace(ended: Sequence[Job]) -> float:
    """Jobs per second from the first start to the last end: the first fetch and the last store count."""
    first, last = min(job.started_at or 0.0 for job in ended), max(job.completed_at or 0.0 for job in ended)
    return len(ended) / (last - first)


def _run(fleet: Fleet, pictures: Sequence[ObjectRef], *, options: JobOptions) -> list[Job]:
    """Everything at once, as a batch would; the jobs, ended."""
    ids = [fleet.submit(picture, options=options, priority=Priority.BATCH) for picture in pictures]
    return _ended(fleet, ids)


def _open_load(fleet: Fleet, picture: ObjectRef) -> list[float]:
    """Seconds from submit to start of jobs that come at random."""
    options = JobOptions(seed=int(OPEN_WORK_S * 1000))
    ids, until = [], time.monotonic() + OPEN_S
    while time.monotonic() < until:
        time.sleep(random.expovariate(OPEN_RATE))
        ids.append(fleet.submit(picture, options=options, priority=Priority.INTERACTIVE))
    return [(job.started_at or 0.0) - job.created_at for job in _ended(fleet, ids)]


def _ended(fleet: Fleet, ids: Sequence[JobId]) -> list[Job]:
    def all_of_them() -> list[Job] | None:
        time.sleep(0.1)
        # The last one says most: asking for all costs what is measured.
        if fleet.store.get(ids[-1]).state not in TERMINAL:
            return None
        jobs = [fleet.store.get(one) for one in ids]
        return jobs if all(job.state in TERMINAL for job in jobs) else None

    found: list[Job] = wait_for(all_of_them, what=f"{len(ids)} jobs end", within_s=300)
    return found


# -- processes


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Redis, S3 and a keeper of our own."""
    redis, s3 = RedisServer(folder / "redis"), S3Server(folder / "s3")
    redis.start()
    s3.start()
    settings = JobsSettings(
        redis_url=redis.url,
        s3_endpoint_url=s3.endpoint_url,
        s3_region=s3.region,
        s3_access_key_id=s3.access_key,
        s3_secret_access_key=s3.secret_key,
        bucket="photomend",
        signing_secret="of this measurement only, nobody's secret",
    )
    fleet = Fleet(settings, folder, PHOTOMEND_LEASE_S="10")
    try:
        fleet.blobs.ensure_bucket("photomend")
        yield Site(fleet, redis, s3, fleet.keeper())
    finally:
        fleet.close()
        s3.stop()
        redis.stop()


@contextmanager
def workers(fleet: Fleet, size: int, *, app: str, threads: int, **env: str) -> Iterator[Sequence[Popen[bytes]]]:
    """So many worker processes, ready; drained at the end."""
    names = [f"w{number}" for number in range(size)]
    processes = fleet.start_workers(*names, threads=threads, app=app, **env)
    try:
        for process in processes:
            wait_for(lambda p=process: fleet.slots_of(p), what="the workers are ready", within_s=180)
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)


def _cpu_s(roots: Sequence[int]) -> float:
    """Computing time of processes and all their descendants, those that have ended too (seconds)."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(int(words[1]), []).append(int(entry.name))
            spent[int(entry.name)] = sum(int(word) for word in words[11:15]) / CLOCK_TICKS
    waiting, total = list(roots), 0.0
    while waiting:
        pid = waiting.pop()
        total += spent.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


def _less(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


# -- what is said


def report(fake: Sequence[Lap], real: Sequence[Lap], *, work_s: float) -> Iterator[str]:
    """Tables in Markdown, and what they mean."""
    yield f"A fixed cost of {work_s:g} s a job on the device (a sleep); medians of {_rounds(fake)} round(s):\n"
    cpu = "CPU a job: Redis · keeper · storage · worker"
    yield f"| processes | jobs/s | ideal | efficiency | start after p50 · p95 · p99 | {cpu} | cores |"
    yield "|---|---|---|---|---|---|---|"
    for size, laps in _by_size(fake):
        pace, ideal = statistics.median(lap.jobs_a_s for lap in laps), size / work_s
        waits = sorted(wait for lap in laps for wait in lap.waits_s)
        told = " · ".join(f"{1000 * _quantile(waits, part):.0f} ms" for part in (50, 95, 99))
        figures = f"{size} | {pace:.2f} | {ideal:.2f} | {pace / ideal:.1%}"
        yield f"| {figures} | {told} | {_cpu_words(laps)} | {_cores(laps):.2f} |"
    if real:
        yield f"\nThe real pipeline on the CPU, preview pack; medians of {_rounds(real)} round(s):\n"
        yield f"| processes | jobs/s | beside 1 | {cpu} | cores |"
        yield "|---|---|---|---|---|"
        one = statistics.median(lap.jobs_a_s for lap in real if lap.workers == 1)
        for size, laps in _by_size(real):
            pace = statistics.median(lap.jobs_a_s for lap in laps)
            yield f"| {size} | {pace:.3f} | x{pace / one:.2f} | {_cpu_words(laps)} | {_cores(laps):.2f} |"
    queueing = statistics.median(lap.cpu_ms["redis"] + lap.cpu_ms["keeper"] for lap in fake)
    everything = statistics.median(sum(lap.cpu_ms.values()) for lap in fake)
    cores = os.cpu_count() or 1
    yield (
        f"\nQueueing (Redis and the keeper) takes {queueing:.0f} ms of computing a job, {queueing / everything:.0%} of"
        f" all of it here; {cores} cores are used up at {1000 * cores / everything:.1f} jobs a second."
        f" Load average {os.getloadavg()[0]:.1f}."
    )


def _rounds(laps: Sequence[Lap]) -> int:
    return len(next(iter(_by_size(laps)))[1])


def _by_size(laps: Sequence[Lap]) -> Iterator[tuple[int, list[Lap]]]:
    for size in sorted({lap.workers for lap in laps}):
        yield size, [lap for lap in laps if lap.workers == size]


def _cpu_words(laps: Sequence[Lap]) -> str:
    names = ("redis", "keeper", "storage", "worker")
    return " · ".join(f"{statistics.median(lap.cpu_ms[name] for lap in laps):.0f} ms" for name in names)


def _cores(laps: Sequence[Lap]) -> float:
    return statistics.median(lap.cores for lap in laps)


def _quantile(ordered: Sequence[float], part: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * part // 100)]


def _say(line: Any) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
