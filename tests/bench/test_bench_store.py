"""What the job store costs: calls per job, time per call, memory per waiting job. Measures, never asserts.

``pytest tests/bench/test_bench_store.py -m bench``
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs.model import Job, Priority, Progress, TenantId
from jobs.options import JobOptions
from jobs.settings import JobsSettings
from jobs.store import Idempotency, JobStore
from tests import samples

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

CALLS = 2000
LIVES = 100
WAITING = 20_000

Say = Callable[[str], None]


def a_wish(number: int) -> Job:
    """As large as they come in practice: a callback, metadata, a few options of its own, a deadline."""
    return samples.job(
        tenant=TenantId(f"tenant-{number % 7}"),
        callback=samples.CALLBACK,
        metadata={"album": "1931", "sheet": f"{number:06d}"},
        options=JobOptions(scale=4.0, format="png"),
        deadline_s=3600.0,
        input_bytes=2_345_678,
    )


@pytest.fixture
def store(redis_settings: JobsSettings) -> JobStore:
    return JobStore.connect(redis_settings)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Writes past pytest's capture: the figures are what the benchmark is for."""

    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="")  # noqa: T201

    return write


def timed(calls: list[Callable[[], Any]]) -> str:
    """Milliseconds that a call took: median, 99th percentile."""
    took = []
    for call in calls:
        start = time.perf_counter()
        call()
        took.append((time.perf_counter() - start) * 1e3)
    return f"p50 {statistics.median(took):.3f} ms, p99 {statistics.quantiles(took, n=100)[98]:.3f} ms"


def test_time_of_each_call(store: JobStore, say: Say) -> None:
    wishes = [a_wish(n) for n in range(CALLS)]
    ids = [w.id for w in wishes]
    result, news = samples.result(), Progress(stage="restore", percent=50)
    store.counts()
    store._redis.config_resetstat()

    def in_redis(name: str, calls: list[Callable[[], Any]]) -> None:
        before = store._redis.info("commandstats").get("cmdstat_evalsha", {"usec": 0, "calls": 0})
        line = timed(calls)
        after = store._redis.info("commandstats").get("cmdstat_evalsha", before)
        scripts = after["calls"] - before["calls"]
        within = f"; within Redis {(after['usec'] - before['usec']) / scripts:.0f} us" if scripts else ""
        say(f"{name:9}{line}{within}")

    key = [Idempotency(key=w.id, fingerprint="f") for w in wishes]
    in_redis("submit", [lambda w=w, k=k: store.submit(w, idempotency=k) for w, k in zip(wishes, key, strict=True)])
    in_redis("take 10", [lambda: store.take(credits=10, priority=Priority.INTERACTIVE)] * (CALLS // 10))
    in_redis("claim", [lambda i=i: store.claim(i, worker="w", lease_s=1e6) for i in ids])
    in_redis("beat", [lambda i=i: store.beat(i, epoch=1, lease_s=1e6, progress=news) for i in ids])
    in_redis("commit", [lambda i=i: store.commit(i, epoch=1, result=result) for i in ids])
    in_redis("get", [lambda i=i: store.get(i) for i in ids])
    in_redis("list 50", [lambda: store.list(TenantId("tenant-1"), limit=50)] * 100)
    in_redis("sweep", [store.sweep] * 100)


def test_calls_to_redis_in_a_jobs_life(store: JobStore, say: Say) -> None:
    def calls() -> dict[str, int]:
        return {name: entry["calls"] for name, entry in store._redis.info("commandstats").items()}

    live(store, a_wish(0))  # the scripts are loaded, the replicas counted
    before = calls()
    for number in range(LIVES):
        live(store, a_wish(number))
    made = {name: (count - before.get(name, 0)) / LIVES for name, count in calls().items()}
    trips = made["cmdstat_evalsha"]
    inside = sum(count for name, count in made.items() if name not in {"cmdstat_evalsha", "cmdstat_info"})
    say(f"round trips in a job's life: {trips:.0f} (one is a beat, two tell a callback); commands inside: {inside:.0f}")


def live(store: JobStore, wish: Job) -> None:
    store.submit(wish)
    store.take(credits=1, priority=Priority.INTERACTIVE)
    store.claim(wish.id, worker="w", lease_s=1e6)
    store.beat(wish.id, epoch=1, lease_s=1e6, progress=Progress(stage="restore", percent=50))
    store.commit(wish.id, epoch=1, result=samples.result())
    for delivery in store.due_callbacks(limit=10, lease_s=60.0):
        if delivery.event != "job.started":
            store.callback_delivered(delivery.id)


def test_memory_of_a_waiting_job(store: JobStore, say: Say) -> None:
    def each(make: Callable[[int], Job]) -> float:
        before = int(store._redis.info("memory")["used_memory"])
        for number in range(WAITING):
            store.submit(make(number))
        return (int(store._redis.info("memory")["used_memory"]) - before) / WAITING

    plain, rich = each(lambda _: samples.job()), each(a_wish)
    say(f"memory of a waiting job: {plain:.0f} bytes plain, {rich:.0f} bytes with callback, metadata and deadline")
