"""A batch through the whole service while its processes are killed, and the proof that its report reconciles.

``make batch-kills``: every picture of ``SHARED_DIR`` (else of our own making) and files that are none go by a manifest
through API, Redis with its append-only file, S3, keeper and a real worker with the preview pack. SIGKILL strikes
worker, API, keeper and Redis in turn, each while it has the batch in hand, and each is proved to have struck. Then
every line of the manifest must have its one row, with the right end, and every object must be what its row says.
Exits with 1 if a promise was broken; writes the figures and the report into build/batch-kills.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from jobs.batches.model import ENDED, Batch, BatchId
from jobs.batches.report import CSV, PAGE
from jobs.batches.store import report_ref
from jobs.connection import PREFIX
from jobs.errors import StoreUnavailable
from jobs.model import ObjectRef
from jobs.settings import JobsSettings
from jobs.states import JobState
from photomend.stack.ports import LOOPBACK, free_ports
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.conftest import CALLBACK_SECRET
from tests.faults.batch_proof import (
    MENDED,
    OUTPUT,
    SCANS,
    Findings,
    Wanted,
    hashes_of,
    made_pictures,
    manifest,
    prove,
    shared_pictures,
)
from tests.fleet import LEASE_S, ROOT, Fleet, wait_for

VICTIMS = ("worker", "keeper", "api", "redis")
BUCKET = "photomend"
#: What a busy machine may take to start anything, and the whole batch to end (seconds).
READY_S, END_S = 120.0, 1500.0
#: How long the fake restorer takes for a picture.
WORK_MS = 200

Tell = Callable[[str], None]


class Yard:
    """The service in real processes, each of which can be killed and started again."""

    def __init__(self, folder: Path, *, is_real: bool) -> None:
        self.folder, self.is_real = folder, is_real
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        redis_port, self.api_port = free_ports(2)
        self.redis = RedisServer(self.folder / "redis", redis_port)
        self.redis.start()
        self._stack.callback(self.redis.stop)
        s3 = S3Server(self.folder / "s3")
        s3.start()
        self._stack.callback(s3.stop)
        self.settings = JobsSettings(
            redis_url=self.redis.url,
            s3_endpoint_url=s3.endpoint_url,
            s3_region=s3.region,
            s3_access_key_id=s3.access_key,
            s3_secret_access_key=s3.secret_key,
            bucket=BUCKET,
            callback_secret=CALLBACK_SECRET,
            lease_s=LEASE_S,
            resend_after_s=1.0,
        )
        self.fleet = Fleet(self.settings, self.folder)
        self._stack.callback(self.fleet.close)
        self._stack.callback(self._end_in_order)
        for bucket in (BUCKET, SCANS, MENDED):
            self.fleet.blobs.ensure_bucket(bucket)
        for name in ("api", "keeper", "worker"):
            self.start(name)
        wait_for(self.answers, what="the API answers", within_s=READY_S)
        wait_for(self.fleet.store.slots, what="a worker is ready", within_s=READY_S)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.api_port}"

    def start(self, name: str) -> None:
        """Start a process of the service; it need not be ready."""
        if name == "worker" and not self.is_real:
            self._processes[name] = self.fleet.start_workers("w", threads=2, TEST_WORK_MS=str(WORK_MS))[0]
            return
        own = {
            "api": {"PHOTOMEND_API_HOST": LOOPBACK, "PHOTOMEND_API_PORT": str(self.api_port)},
            "keeper": {
                "PHOTOMEND_SWEEP_EVERY_S": "0.5",
                "PHOTOMEND_BATCH_WINDOW": "8",
                "PHOTOMEND_BATCH_LEASE_S": "5",
            },
            "worker": {"PHOTOMEND_ALLOW_PREVIEW": "1", "OMP_NUM_THREADS": str(os.cpu_count())},
        }[name]
        words = ["--threads", "2"] if name == "worker" else []
        self._processes[name] = self.fleet.command(name, [sys.executable, "-m", "photomend", name, *words], **own)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    # -- strikes: each returns what proves that it struck

    def strike(self, victim: str, batch: BatchId) -> dict[str, Any]:
        """SIGKILL it while it has the batch in hand, and start it again."""
        return {"victim": victim} | {
            "worker": self._kill_worker,
            "keeper": self._kill_keeper,
            "api": self._kill_api,
            "redis": self._kill_redis,
        }[victim](batch)

    def _kill_worker(self, batch: BatchId) -> dict[str, Any]:
        def held() -> dict[str, Any] | None:
            found = self.fleet.store.batches.get(batch)
            assert found.state not in ENDED, f"the batch is over before the worker was struck: {found.counts}"
            for job in self.fleet.store.batches.window(found):
                if job.state is JobState.PROCESSING and job.worker:
                    return {"pid": int(job.worker.split(":")[1]), "job": job.id, "attempt": job.attempt}
            return None

        aim = wait_for(held, what="a worker has an item in hand", within_s=READY_S)
        os.kill(aim["pid"], signal.SIGKILL)
        wait_for(lambda: not _is_alive(aim["pid"]) or self._is_reaped("worker"), what="the worker is gone")
        if not self.is_real:
            self._reap("worker")
            self.start("worker")
        return dict(aim)

    def _kill_keeper(self, batch: BatchId) -> dict[str, Any]:
        key = f"{PREFIX}batch:{batch}"
        pid = self._processes["keeper"].pid
        client = self.fleet.store._redis

        def runs() -> bool:
            return f":{pid}:" in (client.hget(key, "runner") or "")

        wait_for(runs, what="this keeper runs the batch", within_s=READY_S)
        epoch = int(client.hget(key, "epoch") or 0)
        self._reap("keeper", kill=True)
        self.start("keeper")
        return {"pid": pid, "epoch": epoch}

    def _kill_api(self, batch: BatchId) -> dict[str, Any]:
        with httpx.stream("GET", f"{self.url}/v1/batches/{batch}/events", timeout=READY_S) as answer:
            lines = answer.iter_lines()
            seen = next(line for line in lines if line.startswith("event:"))
            self._reap("api", kill=True)
            broke_off = False
            try:
                rest = list(lines)
            except httpx.TransportError:
                broke_off = True
            else:
                broke_off = "event: end" not in rest
        assert broke_off, "a stream that the API served went on"
        assert not self.answers(), "the API is gone"
        self.start("api")
        wait_for(self.answers, what="the API answers again", within_s=READY_S)
        return {"pid": self._processes["api"].pid, "watched": seen}

    def _kill_redis(self, batch: BatchId) -> dict[str, Any]:
        child = self.redis.child
        assert child is not None
        before = self.fleet.store.batches.get(batch)
        os.kill(child.pid, signal.SIGKILL)
        wait_for(lambda: not child.is_running, what="Redis is gone")
        try:
            self.fleet.store.ping()
        except StoreUnavailable:
            pass
        else:
            raise AssertionError("Redis answers though it was killed")
        self.redis.start()
        after = self.fleet.store.batches.get(batch)
        assert after.counts.done >= before.counts.done, "what was acknowledged was written down"
        return {"pid": child.pid, "done": after.counts.done}

    def _is_reaped(self, name: str) -> bool:
        return self._processes[name].poll() is not None

    def _reap(self, name: str, *, kill: bool = False) -> None:
        process = self._processes[name]
        if kill:
            process.kill()
        assert process.wait(READY_S) == -signal.SIGKILL, f"{name} ended by itself"

    def _end_in_order(self) -> None:
        """SIGTERM first, so that a supervisor takes its processes with it."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def run(
    yard: Yard, wanted: list[Wanted], *, kills: int, options: dict[str, Any], tell: Tell, out: Path | None = None
) -> Findings:
    """The batch from its submission to its proof, with ``kills`` SIGKILLs to each kind of process."""
    began = time.monotonic()
    found = Findings(lines=len(wanted))
    masters = _store(yard, wanted)
    batch = _submit(yard, options)
    planned = [victim for _ in range(kills) for victim in VICTIMS]
    for place, victim in enumerate(planned):
        # From the first item to the last: spread over what is to be done, so that each stage is met.
        goal = place * len(wanted) // (len(planned) + 1)
        wait_for(lambda goal=goal: _done(yard, batch, tell) >= goal, what=f"{goal} items are done", within_s=END_S)
        if _get(yard, batch).state in ENDED:
            found.broken.append(f"the batch ended before {victim} was struck")
            break
        found.strikes.append({"at_s": round(time.monotonic() - began, 2), "done": goal} | yard.strike(victim, batch))
        tell(f"killed the {victim}")

    def ended() -> bool:
        _done(yard, batch, tell)
        return _get(yard, batch).state in ENDED

    wait_for(ended, what="the batch ends", within_s=END_S)
    found.seconds = round(time.monotonic() - began, 1)
    prove(yard.fleet, _get(yard, batch), wanted, masters, found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name in (PAGE, CSV):
            ref = report_ref(_get(yard, batch), name)
            (out / name).write_bytes(yard.fleet.blobs.get(ref, max_bytes=1 << 30))
    return found


def _store(yard: Yard, wanted: list[Wanted]) -> dict[str, str]:
    """The masters in their bucket, and their hashes as they are read back."""
    for one in wanted:
        if one.data is not None:
            yard.fleet.blobs.put(ObjectRef(bucket=SCANS, key=one.key), one.data, content_type="image/jpeg")
    text = "".join(json.dumps(one.line) + "\n" for one in wanted)
    yard.fleet.blobs.put(ObjectRef(bucket=SCANS, key="list.jsonl"), text.encode(), content_type="application/jsonl")
    return hashes_of(yard.fleet, wanted)


def _submit(yard: Yard, options: dict[str, Any]) -> BatchId:
    words = {
        "manifest": {"uri": f"s3://{SCANS}/list.jsonl", "format": "jsonl"},
        "output": f"s3://{MENDED}/{OUTPUT}",
        "options": options,
    }
    answer = httpx.post(f"{yard.url}/v1/batches", json=words, timeout=READY_S)
    assert answer.status_code == 202, answer.text
    return BatchId(answer.json()["id"])


def _get(yard: Yard, batch: BatchId) -> Batch:
    found: Batch = wait_for(lambda: _maybe(yard, batch), what="the store answers", within_s=READY_S)
    return found


def _maybe(yard: Yard, batch: BatchId) -> Batch | None:
    try:
        return yard.fleet.store.batches.get(batch)
    except StoreUnavailable:
        return None


def _done(yard: Yard, batch: BatchId, tell: Tell) -> int:
    found = _get(yard, batch)
    tell(f"{found.state}: {found.counts.done} of {found.total} lines have their row")
    return found.counts.done


# -- make batch-kills


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A fresh one, whose logs are kept."""
    with tempfile.TemporaryDirectory(prefix="batch-kills-") as name:
        try:
            yield Path(name)
        finally:
            out.mkdir(parents=True, exist_ok=True)
            for log in Path(name).glob("*.log"):
                (out / log.name).write_bytes(log.read_bytes())


def _teller() -> Tell:
    began, last = time.monotonic(), ""

    def tell(words: str) -> None:
        nonlocal last
        if words != last:
            sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {words}\n")
            last = words

    return tell


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.batch_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="SIGKILLs to each of worker, API, keeper and Redis")
    parser.add_argument("--bad", type=int, default=4, help="files of each kind that must fail")
    parser.add_argument("--fake", action="store_true", help="a worker without networks, and pictures of our own making")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "batch-kills")
    said = parser.parse_args()
    shared = os.environ.get("SHARED_DIR")
    pictures = made_pictures(60) if said.fake or not shared else shared_pictures(Path(shared) / "photos")
    wanted = manifest(pictures, bad=said.bad)
    options = {} if said.fake else {"scale": 1, "background": "none", "outputs": ["image", "provenance"]}
    with _folder(said.out) as folder, Yard(folder, is_real=not said.fake) as yard:
        found = run(yard, wanted, kills=said.kills, options=options, tell=_teller(), out=said.out)
    words = {name: getattr(found, name) for name in Findings.__dataclass_fields__}
    (said.out / "latest.json").write_text(json.dumps(words, indent=2) + "\n")
    struck = Counter(strike["victim"] for strike in found.strikes)
    sys.stdout.write(
        f"{found.lines} lines, {found.files} files, {found.seconds:.0f} s; SIGKILLs that struck: {dict(struck)}\n"
        f"rows: {found.statuses}; failures by code: {found.errors}; runners of the batch: {found.attempts}\n"
        + (
            "".join(f"BROKEN: {one}\n" for one in found.broken)
            or "Every line has its one row, and every promise held.\n"
        )
    )
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
