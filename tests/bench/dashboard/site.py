"""The service in real processes for a recording: Redis, S3, API, keeper, and a supervisor with real CPU workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx

from jobs.batches.model import BatchId
from jobs.model import Job
from jobs.settings import JobsSettings
from jobs.states import JobState
from photomend.stack.ports import LOOPBACK, free_ports
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.conftest import CALLBACK_SECRET
from tests.fleet import Fleet, wait_for

BUCKET, SCANS, MENDED = "photomend", "scans", "mended"
#: Of which each is scraped, on a port of its own.
TOLD_BY = ("api", "keeper", "worker")
READY_S, STOP_S = 180.0, 60.0
#: So short that trouble of seconds does what trouble of minutes does in operation.
LEASE_S, RESEND_S = 5.0, 1.0
CALLBACK_SCHEDULE_S = "[2, 4, 8, 16, 32]"
CALLBACK_SHUT_S = 8.0
PROCESSES, THREADS, BATCH_WINDOW = 2, 2, 6
#: The path of the receiver that answers 410.
GONE = "/gone"


class Manner(Enum):
    """How a receiver treats callbacks."""

    WELL = 204
    FAILS = 503
    SILENT = 0  #: hangs up


class Receiver:
    """Takes callbacks on loopback, in threads of this process; can fail, and can be silent."""

    def __init__(self) -> None:
        receiver = self
        self.manner = Manner.WELL

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.manner is Manner.SILENT:
                    self.close_connection = True
                    return
                self.send_response(410 if self.path == GONE else receiver.manner.value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._server.server_port}"


class Site:
    """What a recording drives and breaks."""

    def __init__(self, fleet: Fleet, redis: RedisServer, receiver: Receiver) -> None:
        self.fleet, self.redis, self.receiver = fleet, redis, receiver
        self._door, *told = free_ports(1 + len(TOLD_BY))
        self._told = dict(zip(TOLD_BY, told, strict=True))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._door}"

    @property
    def targets(self) -> dict[str, str]:
        """Where each process tells its figures."""
        return {name: f"{LOOPBACK}:{port}" for name, port in self._told.items()}

    def start(self) -> None:
        """Return when a job would be done."""
        for bucket in (BUCKET, SCANS, MENDED):
            self.fleet.blobs.ensure_bucket(bucket)
        self._start("api", PHOTOMEND_API_HOST=LOOPBACK, PHOTOMEND_API_PORT=str(self._door))
        self._start(
            "keeper",
            PHOTOMEND_CALLBACK_SCHEDULE_S=CALLBACK_SCHEDULE_S,
            PHOTOMEND_CALLBACK_SHUT_S=str(CALLBACK_SHUT_S),
            PHOTOMEND_SWEEP_EVERY_S="0.5",
            PHOTOMEND_BATCH_WINDOW=str(BATCH_WINDOW),
            PHOTOMEND_BATCH_LEASE_S="5",
        )
        words = ["--cpu", str(PROCESSES), "--threads", str(THREADS)]
        self._start("worker", *words, PHOTOMEND_ALLOW_PREVIEW="1", PHOTOMEND_DEVICE="cpu")
        wait_for(self._answers, what="the API answers", within_s=READY_S)
        wait_for(lambda: len(self.fleet.store.slots()) == PROCESSES, what="all workers are ready", within_s=READY_S)

    def strike_a_worker(self, batch: BatchId, *, by: signal.Signals) -> int:
        """Send a signal to a worker process that has an item of this batch in hand; its pid."""
        batches = self.fleet.store.batches

        def busy() -> int | None:
            window = batches.window(batches.get(batch))
            return next((int(job.worker.split(":")[1]) for job in window if job.worker and _runs(job)), None)

        pid: int = wait_for(busy, what="a worker has an item in hand", within_s=READY_S)
        os.kill(pid, by)
        return pid

    def freeze_a_worker(self, batch: BatchId, *, for_s: float) -> None:
        """Longer than a lease: another attempt has its jobs when it goes on."""
        pid = self.strike_a_worker(batch, by=signal.SIGSTOP)
        try:
            time.sleep(for_s)
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill_redis(self) -> None:
        child = self.redis.child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        wait_for(lambda: not child.is_running, what="Redis is gone")

    def end(self) -> None:
        """SIGTERM first, so that a supervisor takes its processes with it."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, name: str, *words: str, **env: str) -> None:
        own = {"PHOTOMEND_METRICS_PORT": str(self._told[name]), "PHOTOMEND_RESEND_AFTER_S": str(RESEND_S)} | env
        command = [sys.executable, "-m", "photomend", name, *words]
        self._processes.append(self.fleet.command(name, command, **own))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def _runs(job: Job) -> bool:
    return job.state is JobState.PROCESSING


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A running one, with its data and logs in ``folder``; everything is stopped at the end."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        redis, s3 = RedisServer(folder / "redis", free_ports(1)[0]), S3Server(folder / "s3")
        redis.start()
        stack.callback(redis.stop)
        s3.start()
        stack.callback(s3.stop)
        settings = JobsSettings(
            redis_url=redis.url,
            s3_endpoint_url=s3.endpoint_url,
            s3_region=s3.region,
            s3_access_key_id=s3.access_key,
            s3_secret_access_key=s3.secret_key,
            bucket=BUCKET,
            signing_secret="of this recording only, nobody's own",
            callback_secret=CALLBACK_SECRET,
            callback_allow_hosts=(receiver.address,),
            lease_s=LEASE_S,
        )
        fleet = Fleet(settings, folder)
        stack.callback(fleet.close)
        running = Site(fleet, redis, receiver)
        stack.callback(running.end)
        running.start()
        yield running
