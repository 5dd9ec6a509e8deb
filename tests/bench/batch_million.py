"""One batch of a million items that touch no object, on the real store and runner: memory, pace, kill and resume.

The manifest and the report are real, in a folder; items are looked at and ended without any object, by a worker that
only claims and commits. The runner is a process of its own, which is killed and started again in between. Then: how
long another tenant's interactive jobs wait for a start, without and with a batch, fed by the real feeder.

``python -m tests.bench.batch_million --items 1000000 --kills 5``; writes build/batch-million/latest.json.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.backlog import Slots
from jobs.batches.manifest import Manifest, ManifestFormat
from jobs.batches.model import Batch, BatchId, BatchSpec, BatchState, new_batch_id
from jobs.batches.report import JSON_LINES
from jobs.batches.store import report_ref
from jobs.blobs import ObjectInfo
from jobs.codec import VERSION, result_to_json
from jobs.connection import job_key
from jobs.errors import ObjectMissing
from jobs.model import LOCAL_TENANT, Job, JobId, ObjectRef, Priority, Result, Tenant, TenantId, new_job_id
from jobs.queue import QUEUES
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.doubles import FolderBlobs, MemoryBlobs
from worker.batch_items import Place
from worker.batches import BatchRunner
from worker.feeder import Feeder

MODEL = {"name": "preview", "sha256": "1" * 64, "kind": "restorer"}
#: What items are named by; nothing lies there.
NOWHERE = "nowhere"
LISTS, MENDED, OWN = "lists", "mended", "photomend"
RESULT = result_to_json(Result(artifacts=(), width=1, height=1, metrics={"gpu_s": 0.001, "megapixels": 0.001}))
ANN = TenantId("ann")
OUT = Path("build/batch-million")


class NoObjects:
    """A storage with the manifest and the report, and sources without end that are never read."""

    def __init__(self, blobs: MemoryBlobs) -> None:
        self._blobs = blobs

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo:
        if ref.bucket == NOWHERE:
            return ObjectInfo(size=1000, etag="e", content_type="image/tiff")
        if ref.bucket == MENDED:
            raise ObjectMissing(ref.uri)
        return self._blobs.head(ref, version_id=version_id)

    def copy(self, *_refs: ObjectRef, content_type: str, metadata: Mapping[str, str]) -> ObjectInfo:
        raise AssertionError(f"items touch no object: {content_type}, {metadata}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)


def runner_of(
    store: JobStore,
    blobs: MemoryBlobs,
    *,
    window: int,
    lease_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> BatchRunner:
    objects: Any = NoObjects(blobs)
    place = Place(blobs=objects, may_read=store.tenants.require_readable, bucket=OWN, max_bytes=10**9)
    name = f"runner-{os.getpid()}-{id(store)}"
    return BatchRunner(store, objects, place, name=name, window=window, lease_s=lease_s, threads=2, clock=clock)


def submit(store: JobStore, blobs: MemoryBlobs, items: int, *, batch: BatchId | None = None) -> BatchId:
    """A batch of so many items, by a manifest in the storage."""
    for bucket in (LISTS, MENDED, OWN):
        blobs.ensure_bucket(bucket)
    data = "".join(f"{NOWHERE},box{n // 1000}/{n:07d}.tif\n" for n in range(items)).encode()
    ref = ObjectRef(bucket=LISTS, key="list.csv")
    etag = blobs.put(ref, data, content_type="text/csv").etag
    manifest = Manifest(ref=ref, etag=etag, format=ManifestFormat.CSV)
    spec = BatchSpec(source=manifest, output=ObjectRef(bucket=MENDED, key="x/"))
    return store.batches.create(batch or new_batch_id(), LOCAL_TENANT, spec)[0].id


def say_slots(store: JobStore, *, free: int = 1) -> None:
    engine = "torch on cpu"
    store.publish_slots(
        Slots(worker="w", queues=(), free=free, total=max(free, 4), models=(MODEL,), engine=engine, heartbeat_s=3600)
    )


def work(store: JobStore, *, limit: int = 500) -> int:
    """End what waits as fast as may be: by the scripts that workers call, many in one round trip."""
    ids = store.take(credits=limit, priority=Priority.BATCH)
    if not ids:
        return 0
    scripts, policy = store._scripts, store._policy
    claims = [([job_key(one)], [policy, one, "w", 60.0, f"t{one}", VERSION]) for one in ids]
    claimed = [one for one, answer in zip(ids, scripts.call_each("claim", claims), strict=True) if answer[0] == "ok"]
    commits = [([job_key(one)], [policy, one, 1, RESULT, 1.0, 0.001, 0.001, 0.0, ""]) for one in claimed]
    scripts.call_each("commit", commits)
    return len(claimed)


def count_rows(blobs: MemoryBlobs, batch: Batch) -> dict[str, int]:
    """Rows of the report by status.

    Raises:
        AssertionError: a line of the manifest has none, or more than one.
    """
    counts: dict[str, int] = {}
    data = blobs.get(report_ref(batch, JSON_LINES), max_bytes=1 << 40)
    expected = 0
    for line in data.splitlines():
        row = json.loads(line)
        expected += 1
        assert row["number"] == expected, f"row {row['number']} where {expected} should be"
        assert row["source"].endswith(f"/{expected - 1:07d}.tif"), row
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    assert expected == batch.total, f"{expected} rows for {batch.total} lines"
    return counts


# -- the run


def _settings(url: str) -> JobsSettings:
    return JobsSettings(redis_url=url, signing_secret="of this measurement only, nobody's")


def _child(role: str, url: str, folder: str, window: int) -> None:
    store = JobStore.connect(_settings(url))
    if role == "worker":
        while True:
            if not work(store):
                time.sleep(0.01)
    runner = runner_of(store, FolderBlobs(Path(folder)), window=window, lease_s=5.0)
    _open_buckets(runner)
    while True:
        runner.step()
        time.sleep(0.01)


def _open_buckets(runner: BatchRunner) -> None:
    blobs: Any = runner._hands.blobs
    for bucket in (LISTS, MENDED, OWN):
        blobs.ensure_bucket(bucket)


def _start(role: str, url: str, folder: Path, window: int) -> subprocess.Popen[bytes]:
    words = ["--child", role, "--url", url, "--folder", str(folder), "--window", str(window)]
    return subprocess.Popen([sys.executable, "-m", "tests.bench.batch_million", *words])


def _memory(store: JobStore) -> tuple[float, float]:
    """Redis' dataset, and everything it holds (MB)."""
    info: Any = store._redis.info("memory")
    return info["used_memory_dataset"] / 1e6, info["used_memory"] / 1e6


def run(url: str, folder: Path, *, items: int, kills: int, window: int) -> dict[str, Any]:
    """The whole life of the batch; what was measured on its way."""
    store, blobs = JobStore.connect(_settings(url)), FolderBlobs(folder)
    say_slots(store)
    before = _memory(store)
    batch = submit(store, blobs, items)
    began = time.monotonic()
    processes = {role: _start(role, url, folder, window) for role in ("runner", "worker")}
    samples: list[dict[str, float]] = []
    killed_at: list[int] = []
    try:
        while (found := store.batches.get(batch)).state not in {BatchState.SUCCEEDED, BatchState.FAILED}:
            dataset, used = _memory(store)
            at = round(time.monotonic() - began, 2)
            samples.append({"s": at, "done": found.counts.done, "dataset_mb": dataset, "used_mb": used})
            if len(killed_at) < kills and found.counts.done >= items * (len(killed_at) + 1) / (kills + 1):
                processes["runner"].send_signal(signal.SIGKILL)
                processes["runner"].wait()
                killed_at.append(found.counts.done)
                processes["runner"] = _start("runner", url, folder, window)
            for process in processes.values():
                assert process.poll() is None, "a process ended by itself"
            time.sleep(0.5)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    for bucket in (LISTS, MENDED, OWN):
        blobs.ensure_bucket(bucket)
    counts = count_rows(blobs, found)
    running = [s for s in samples if 0 < s["done"] < items]
    left = sum(1 for _ in store._redis.scan_iter("{photomend}:job:*", count=1000))
    store.close()
    return {
        "items": items,
        "rows": counts,
        "seconds": round(seconds, 1),
        "items_per_s": round(items / seconds, 1),
        "items_per_s_at_work": round(_pace(running), 1),
        "killed_at": killed_at,
        "window": window,
        "redis_before_mb": {"dataset": round(before[0], 2), "used": round(before[1], 2)},
        "redis_peak_mb": {name: round(max(s[f"{name}_mb"] for s in samples), 2) for name in ("dataset", "used")},
        "redis_median_mb": round(statistics.median(s["dataset_mb"] for s in samples), 2),
        "jobs_left": left,
        "samples": samples[:: max(1, len(samples) // 100)],
    }


def _pace(samples: list[dict[str, float]]) -> float:
    if len(samples) < 2 or samples[-1]["s"] == samples[0]["s"]:
        return 0.0
    return (samples[-1]["done"] - samples[0]["done"]) / (samples[-1]["s"] - samples[0]["s"])


# -- another tenant's interactive jobs


class _Mail:
    """Where the feeder sends ids, in place of Celery."""

    def __init__(self) -> None:
        self.ids: queue.SimpleQueue[JobId] = queue.SimpleQueue()

    def send(self, job_id: JobId, queue: str) -> None:
        assert queue in QUEUES.values()
        self.ids.put(job_id)

    def depth(self, queue: str) -> int:
        return self.ids.qsize() if queue == QUEUES[Priority.BATCH] else 0


class _Fleet:
    """A feeder and a few threads that take 20 ms a job, as a small fleet of real workers would be fed."""

    THREADS = 4

    def __init__(self, store: JobStore) -> None:
        self._store, self._mail, self._stop = store, _Mail(), threading.Event()
        self._busy, self._lock = 0, threading.Lock()
        self._threads: list[threading.Thread] = []
        self.forever(lambda: say_slots(store, free=max(0, self.THREADS - self._busy)), 0.02)
        self.forever(Feeder(store, self._mail, batch_share=0.1).step, 0.04)
        for _ in range(self.THREADS):
            self.forever(self._take, 0.002)

    def forever(self, step: Any, every_s: float) -> None:
        def go() -> None:
            while not self._stop.wait(every_s):
                step()

        self._threads.append(threading.Thread(target=go, daemon=True))
        self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _take(self) -> None:
        try:
            job_id = self._mail.ids.get_nowait()
        except queue.Empty:
            return
        with self._lock:
            self._busy += 1
        claimed = self._store.claim(job_id, worker="w", lease_s=60)
        if isinstance(claimed, Job):
            time.sleep(0.02)
            self._store.commit(job_id, epoch=claimed.epoch, result=Result(artifacts=(), width=1, height=1))
        with self._lock:
            self._busy -= 1


def waits(url: str, folder: Path, *, with_batch: bool, jobs: int = 200) -> list[float]:
    """Seconds from submit to start of another tenant's interactive jobs, 20 a second on a fleet that can do 200."""
    store, blobs = JobStore.connect(_settings(url)), FolderBlobs(folder)
    store._redis.flushall()
    store.set_tenant(Tenant(id=ANN))
    say_slots(store)
    fleet = _Fleet(store)
    if with_batch:
        batch = submit(store, blobs, 20_000)
        runner = runner_of(store, blobs, window=256, lease_s=30.0)
        while store.batches.get(batch).in_flight == 0:
            runner.step()
        fleet.forever(runner.step, 0.05)
    ids = []
    for _ in range(jobs):
        job = Job(id=new_job_id(), tenant=ANN, input=ObjectRef(bucket=NOWHERE, key="a.jpg"))
        ids.append(store.submit(job).job.id)
        time.sleep(0.05)
    until = time.monotonic() + 30
    while time.monotonic() < until and any(store.get(one).started_at is None for one in ids):
        time.sleep(0.1)
    fleet.stop()
    found = [store.get(one) for one in ids]
    store.close()
    return [one.started_at - one.created_at for one in found if one.started_at is not None]


def summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "jobs": len(ordered),
        "p50_ms": round(1000 * statistics.median(ordered), 1),
        "p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max_ms": round(1000 * ordered[-1], 1),
    }


def _told(words: Mapping[str, Any]) -> Iterator[str]:
    big, wait = words["batch"], words["interactive"]
    yield f"{big['items']:,} items in {big['seconds']:,} s: {big['items_per_s']:,} a second, rows {big['rows']}"
    yield f"runner killed at {big['killed_at']}, jobs left in Redis: {big['jobs_left']}"
    yield (
        f"Redis' dataset: {big['redis_before_mb']['dataset']} MB before, {big['redis_median_mb']} in the median,"
        f" {big['redis_peak_mb']['dataset']} at most (everything: {big['redis_peak_mb']['used']} MB)"
    )
    for name, told in wait.items():
        yield f"another tenant's interactive jobs, {name}: p50 {told['p50_ms']}, p95 {told['p95_ms']} ms to start"


def main() -> None:
    from photomend.stack.redis import RedisServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--child", choices=("runner", "worker"))
    parser.add_argument("--url")
    parser.add_argument("--folder")
    said = parser.parse_args()
    if said.child:
        _child(said.child, said.url, said.folder, said.window)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisServer(folder / "redis")
        server.start()
        try:
            # By turns, so that a busy machine meets both alike.
            both: dict[str, list[float]] = {"without a batch": [], "beside a batch": []}
            for turn in range(2):
                for kind in both:
                    both[kind] += waits(server.url, folder / f"{turn}{kind[0]}", with_batch=kind[0] == "b", jobs=100)
            found = {
                "interactive": {kind: summary(seconds) for kind, seconds in both.items()},
                "batch": {},
            }
            with JobStore.connect(_settings(server.url))._redis as client:
                client.flushall()
            found["batch"] = run(server.url, folder / "objects", items=said.items, kills=said.kills, window=said.window)
        finally:
            server.stop()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "latest.json").write_text(json.dumps(found, indent=2) + "\n")
    for line in _told(found):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
