"""The service beside a bare loop: what queue, storage, sandbox and life cycle cost, with 1, 4 and 16 jobs in flight."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from jobs.paces import DEVICE_TIMES
from photomend.bench import pictures
from photomend.bench.contest import Trial, Workshop, at_least, at_most
from worker.processes import WAITING

if TYPE_CHECKING:
    from jobs.blobs import BlobStore
    from jobs.model import Job, JobId
    from jobs.settings import JobsSettings
    from jobs.store import JobStore

#: Jobs in flight, and how many jobs each is measured with.
FLIGHTS = {1: 3, 4: 8, 16: 16}
#: Photos that the bare loop restores in each turn.
BARE = 3
CASE, SCALE = "blake", 2.0
APP = "photomend.bench.service_app:app"
#: How long one job may take, and a worker to become ready (seconds).
LONGEST_S, READY_S = 600.0, 300.0
#: How often an ended job is looked for (seconds): of one by itself soon, since the next waits for that; of several less
#: often, since a look takes the cores from what is measured (at ten a second 22 ms a photo), and others are there to be
#: worked on.
LOOK_ALONE_S, LOOK_EVERY_S = 0.02, 0.25
#: Times of a job that are no stage's: its waiting, and the device's share of its stages.
_NOT_STAGES = DEVICE_TIMES | {"queue_s"}
#: Of the jobs in flight the oldest are looked at, more than run at a time: looking costs the service its cores.
LOOKED_AT = 5


@dataclass(frozen=True, kw_only=True)
class Service:
    """A whole installation of its own, with one worker."""

    store: JobStore
    blobs: BlobStore
    settings: JobsSettings
    sessions: Mapping[str, Sequence[int]]  #: of its processes, by what they are

    def cpu_s(self) -> dict[str, float]:
        """What they have taken so far, and this process with its looks at the jobs."""
        from photomend.bench.cpu import cpu_s

        return cpu_s(self.sessions) | {"bench": time.process_time()}

    def finish(self, count: int, *, in_flight: int) -> tuple[float, list[Job]]:
        """Seconds from the first submit to the last end, by their records, of ``count`` jobs; and the jobs.

        Raises:
            RuntimeError: a job did not succeed.
        """
        from jobs.states import TERMINAL, JobState

        flying: list[JobId] = []
        done: list[Job] = []
        began, submitted = time.monotonic(), 0
        while len(done) < count:
            while submitted < count and len(flying) < in_flight:
                flying.append(self._submit())
                submitted += 1
            ended = [job for job in map(self.store.get, flying[:LOOKED_AT]) if job.state in TERMINAL]
            done += ended
            flying = [job_id for job_id in flying if job_id not in {job.id for job in ended}]
            if not ended:
                time.sleep(LOOK_ALONE_S if in_flight == 1 else LOOK_EVERY_S)
            if time.monotonic() - began > LONGEST_S:
                raise RuntimeError(f"{len(done)} of {count} jobs ended within {LONGEST_S:g} s")
        if failed := [job.failure for job in done if job.state is not JobState.SUCCEEDED]:
            raise RuntimeError(f"jobs failed: {failed}")
        return max(job.completed_at or 0.0 for job in done) - min(job.created_at for job in done), done

    def _submit(self) -> JobId:
        from jobs.model import LOCAL_TENANT, Job, ObjectRef, new_job_id
        from jobs.options import JobOptions
        from photomend.bench import seeded

        options = JobOptions(model=seeded.RESTORER, scale=SCALE, background="none", precision="auto")
        photo = ObjectRef(bucket=self.settings.bucket, key="bench/photo.jpg")
        return self.store.submit(Job(id=new_job_id(), tenant=LOCAL_TENANT, input=photo, options=options)).job.id


def measure(place: Workshop) -> Mapping[str, Any]:
    """Seconds a photo by the bare loop and by the service, in turn, and what one job adds to its own work."""
    from photomend.bench import ours, seeded

    seeded.make(place)
    bare = ours.full_size(place, precision="auto")
    photo = pictures.file(place, CASE)
    bare(photo, scale=SCALE)
    taken: dict[str, list[float]] = {"bare": []}
    added: list[float] = []
    cpu: dict[str, list[float]] = {}
    with _service(place) as service:
        service.finish(2, in_flight=2)
        for _ in range(3 if place.is_full else 1):
            for flight, count in FLIGHTS.items():
                began, cpu_began = time.monotonic(), time.process_time()
                for _ in range(BARE):
                    bare(photo, scale=SCALE)
                taken["bare"].append((time.monotonic() - began) / BARE)
                cpu.setdefault("bare", []).append((time.process_time() - cpu_began) / BARE)
                before = service.cpu_s()
                seconds, jobs = service.finish(count, in_flight=flight)
                taken.setdefault(str(flight), []).append(seconds / count)
                if flight == max(FLIGHTS):
                    for name, spent_s in service.cpu_s().items():
                        cpu.setdefault(name, []).append((spent_s - before[name]) / count)
                if flight == 1:
                    added += [_added(job) for job in jobs]
    return _figures(taken, added) | {"cpu_s": {name: round(median(spent), 3) for name, spent in cpu.items()}}


def _figures(taken: Mapping[str, Sequence[float]], added: Sequence[float]) -> dict[str, Any]:
    bare = median(taken["bare"])
    shares = {f"share_{flight}_percent": round(100 * bare / median(taken[str(flight)]), 1) for flight in FLIGHTS}
    least = min(shares[f"share_{flight}_percent"] for flight in FLIGHTS if flight >= 4)
    return {
        "share_percent": least,
        "added_ms": round(1000 * median(added), 1),
        "added_ms_min": round(1000 * min(added), 1),
        "added_ms_max": round(1000 * max(added), 1),
        **shares,
        "bare_s": round(bare, 3),
        "bare_s_min": round(min(taken["bare"]), 3),
        "bare_s_max": round(max(taken["bare"]), 3),
        "ours_s": round(median(taken["16"]), 3),
        "stages": {f"{flight} in flight": round(median(taken[str(flight)]), 3) for flight in FLIGHTS},
    }


def _added(job: Job) -> float:
    """What the job took beyond its pipeline's stages and its transfers (s)."""
    assert job.completed_at is not None  # noqa: S101 - it has ended
    assert job.result is not None  # noqa: S101 - by success
    work = sum(s for name, s in job.result.metrics.items() if name.endswith("_s") and name not in _NOT_STAGES)
    return job.completed_at - job.created_at - work


@contextmanager
def _service(place: Workshop) -> Iterator[Service]:
    from jobs.blobs import BlobStore
    from jobs.model import ObjectRef
    from jobs.settings import JobsSettings
    from jobs.store import JobStore
    from photomend.stack.process import Child
    from photomend.stack.redis import RedisServer
    from photomend.stack.settings import child_environment
    from photomend.stack.swift import S3Server
    from worker.processes import available_cores, plan_processes

    folder = place.folder / "service"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        redis, s3 = RedisServer(folder / "redis"), S3Server(folder / "s3")
        for server in (redis, s3):
            stack.callback(server.stop)
            server.start()
        words = {
            "redis_url": redis.url,
            "s3_endpoint_url": s3.endpoint_url,
            "s3_region": s3.region,
            "s3_access_key_id": s3.access_key,
            "s3_secret_access_key": s3.secret_key,
            "bucket": "bench",
            "signing_secret": secrets.token_urlsafe(32),
        }
        settings = JobsSettings.model_validate(words)
        blobs, store = BlobStore.connect(settings), JobStore.connect(settings)
        blobs.ensure_bucket(settings.bucket)
        photo = pictures.file(place, CASE)
        blobs.put(ObjectRef(bucket="bench", key="bench/photo.jpg"), photo.read_bytes(), content_type="image/jpeg")
        [plan] = plan_processes(gpus=(), cpu=1, threads=None, cores=available_cores())
        env = {f"PHOTOMEND_{name.upper()}": value for name, value in words.items()} | {
            "PHOTOMEND_WEIGHTS_DIR": str(place.seeded),
            "PHOTOMEND_ALLOW_PREVIEW": "1",
            **plan.environment,
        }
        assert redis.child is not None  # noqa: S101 - it was started
        sessions = {"redis": [redis.child.pid], "s3": [child.pid for child in s3.children]}
        commands = {"keeper": [sys.executable, "-m", "photomend", "keeper"], "worker": plan.command(APP)}
        for name, command in commands.items():
            # The supervisor's own settings of the allocator and threads, of which this process has the same.
            child = Child(name, command, log=folder / f"{name}.log", env=child_environment(plan.defaults | env))
            stack.callback(child.stop, grace_s=10.0)
            sessions[name] = [child.pid]
            if name == "worker":
                child.wait_until(lambda: bool(store.slots()), timeout_s=READY_S)
        yield Service(store=store, blobs=blobs, settings=settings, sessions=sessions)


TRIALS = (
    Trial(
        name="service",
        measure=measure,
        about_s=150,
        # The bare loop's threads wait as the worker's do.
        environment=WAITING,
        promises=(at_least("share_percent", 95.0), at_most("added_ms", 50.0)),
        note="share_percent: with 4 or 16 jobs in flight, of a bare loop's speed; added_ms: by a job alone,"
        " beyond its stages and transfers; cpu_s: CPU seconds a photo by whom, with 16 in flight",
    ),
)
