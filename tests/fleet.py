"""Real processes for tests: Celery workers with a fake restorer, keepers, and what to ask them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jobs.blobs import BlobStore
from jobs.model import LOCAL_TENANT, Callback, Job, JobId, ObjectRef, Priority, new_job_id
from jobs.options import JobOptions
from jobs.queue import Sender, make_celery
from jobs.settings import JobsSettings
from jobs.states import TERMINAL
from jobs.store import JobStore
from tests import logged
from worker.processes import Plan

ROOT = Path(__file__).parents[1]
FAKE_APP = "tests.fake_worker:app"
#: Short, so that a lost lease costs a test little; long enough for a busy machine.
LEASE_S = 2.0


def png(width: int = 24, height: int = 16) -> bytes:
    """A small picture without people."""
    from pipeline import vips

    ramp = np.linspace(0, 255, width * height * 3).astype(np.uint8).reshape(height, width, 3)
    return vips.save(vips.picture(ramp, "srgb"), "png", compression=6)


def wait_for(claim: Callable[[], Any], *, what: str, within_s: float = 40.0) -> Any:
    """What ``claim`` returns once it is true."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if found := claim():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")


class Fleet:
    """The processes of one test over one installation; ends them all at the end."""

    def __init__(self, settings: JobsSettings, folder: Path, **env: str) -> None:
        self.settings = settings
        self.folder = folder
        self.history_file = folder / "history.jsonl"
        self.store = JobStore.connect(settings)
        self.blobs = BlobStore.connect(settings)
        self.sender = Sender(make_celery(settings))
        self._env = environment(settings) | {"TEST_HISTORY": str(self.history_file), "OMP_NUM_THREADS": "1"} | env
        self._processes: list[subprocess.Popen[bytes]] = []

    # -- processes

    def worker(self, name: str = "w", *, threads: int = 2, app: str = FAKE_APP, **env: str) -> subprocess.Popen[bytes]:
        """A ready worker process, started by the command line that ``photomend worker`` uses."""
        return self.workers(name, threads=threads, app=app, **env)[0]

    def workers(
        self, *names: str, threads: int = 1, app: str = FAKE_APP, **env: str
    ) -> tuple[subprocess.Popen[bytes], ...]:
        """Several of them, started at once."""
        processes = self.start_workers(*names, threads=threads, app=app, **env)
        for process in processes:
            wait_for(lambda p=process: self.slots_of(p), what="the workers are ready", within_s=40)
        return processes

    def start_workers(
        self, *names: str, threads: int = 1, app: str = FAKE_APP, **env: str
    ) -> tuple[subprocess.Popen[bytes], ...]:
        """The same, without waiting until they are ready."""
        own = {"PHOTOMEND_THREADS": str(threads)} | env
        plans = [Plan(name=name, threads=threads) for name in names]
        return tuple(self._start(plan.name, plan.command(app), own) for plan in plans)

    def keeper(self, name: str = "keeper", **env: str) -> subprocess.Popen[bytes]:
        return self._start(name, [sys.executable, "-m", "photomend", "keeper"], env)

    def command(self, name: str, command: Sequence[str], **env: str) -> subprocess.Popen[bytes]:
        return self._start(name, command, env)

    def slots_of(self, process: subprocess.Popen[bytes]) -> Any:
        return next((s for s in self.store.slots() if f":{process.pid}:" in s.worker), None)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        for process in self._processes:
            # A stopped process would not hear anything else.
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self._processes:
            process.wait()
        self.store.close()
        told = [line for log in self.folder.glob("*.log") for line in logged.leaks_in(log.read_text(errors="replace"))]
        assert told == [], "a process logged a secret"

    def _start(self, name: str, command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=self._env | env, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    # -- jobs

    def upload(self, data: bytes | None = None, key: str = "in/photo.png") -> ObjectRef:
        ref = ObjectRef(bucket=self.settings.bucket, key=key)
        self.blobs.put(ref, png() if data is None else data, content_type="image/png")
        return ref

    def submit(self, ref: ObjectRef, *, work_s: float = 0.0, callback: str | None = None, **kwargs: Any) -> JobId:
        """A job that takes ``work_s`` seconds in the fake restorer."""
        options = kwargs.pop("options", None) or JobOptions(seed=int(work_s * 1000))
        job = Job(
            id=new_job_id(),
            tenant=LOCAL_TENANT,
            input=ref,
            options=options,
            priority=kwargs.pop("priority", Priority.INTERACTIVE),
            callback=Callback(url=callback) if callback else None,
            **kwargs,
        )
        return self.store.submit(job).job.id

    def ended(self, job_id: JobId, *, within_s: float = 40.0) -> Job:
        """The job once it has ended."""

        def end() -> Job | None:
            job = self.store.get(job_id)
            return job if job.state in TERMINAL else None

        job: Job = wait_for(end, what=f"{job_id} ends", within_s=within_s)
        return job

    def history(self, event: str, job_id: JobId | None = None) -> list[dict[str, Any]]:
        """What the fake restorer noted."""
        with contextlib.suppress(FileNotFoundError):
            lines = [json.loads(line) for line in self.history_file.read_text().splitlines()]
            return [x for x in lines if x["event"] == event and job_id in {None, x["job"]}]
        return []

    def running(self, job_id: JobId) -> dict[str, Any]:
        """The note of a job that is in the restorer now."""
        found: list[dict[str, Any]] = wait_for(lambda: self.history("began", job_id), what=f"{job_id} runs")
        return found[-1]


def environment(settings: JobsSettings) -> dict[str, str]:
    """The settings as the environment of a process, over as little else as possible."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOMEND_")}
    words: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None:
            continue
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        words[f"PHOTOMEND_{name.upper()}"] = json.dumps(plain) if isinstance(plain, list | tuple) else str(plain)
    return kept | words | {"PYTHONPATH": str(ROOT)}
