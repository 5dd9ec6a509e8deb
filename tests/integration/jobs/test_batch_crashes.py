"""A batch on real Redis and S3 whose runner stops at each of its effects in turn; the report reconciles every time.

The runner does nothing that lasts but through the storage and the store's scripts. Each such call of one whole run is
made a place to stop: before it, and after it as if its answer were lost. A new runner then takes over with nothing but
what is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from jobs.batches.model import BatchId, BatchState
from jobs.blobs import BlobStore
from jobs.errors import StorageUnavailable, StoreUnavailable
from jobs.model import LOCAL_TENANT, ObjectRef
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.doubles import MemoryBlobs
from tests.integration.jobs.batch_world import World

#: What of the storage changes something.
WRITES = ("put", "copy", "delete")
#: What may fail for the moment as well.
READS = ("head", "get", "read_range")
LINES = ["a.tif", "b.tif", "bad.tif", "missing.tif", "c.tif"]
EXPECTED = {"succeeded": 3, "failed": 2}


class Killed(BaseException):
    """The end of a process, as far as one can have it in a test: nothing catches it, nothing is tidied up."""


class Fuse:
    """Counts effects, and ends the process before or after the one that was named."""

    def __init__(self, at: int = -1, *, after: bool = False) -> None:
        self.at, self.after, self.count, self.blown = at, after, 0, False

    def around(self, call: Callable[..., Any], *args: Any, **words: Any) -> Any:
        place, self.count = self.count, self.count + 1
        if place == self.at and not self.after:
            self.blown = True
            raise Killed
        try:
            return call(*args, **words)
        finally:
            # Also where the answer is an error: it is lost like others.
            if place == self.at:
                self.blown = True
                raise Killed


class Hiccup(Fuse):
    """One call fails for the moment, before or after it was done; the process goes on."""

    def around(self, call: Callable[..., Any], *args: Any, **words: Any) -> Any:
        try:
            return super().around(call, *args, **words)
        except Killed:
            is_storage = "blobs" in type(getattr(call, "__self__", None)).__name__.lower()
            raise (StorageUnavailable if is_storage else StoreUnavailable)("for the moment") from None


class Fused:
    """The storage, whose writes are effects."""

    def __init__(self, blobs: Any, fuse: Fuse) -> None:
        self._blobs, self._fuse = blobs, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._blobs, name)
        if name not in WRITES and (name not in READS or not isinstance(self._fuse, Hiccup)):
            return found
        return lambda *args, **words: self._fuse.around(found, *args, **words)


def fused_store(settings: JobsSettings, fuse: Fuse) -> JobStore:
    """A store whose scripts are effects."""
    store = JobStore.connect(settings)
    for name in ("call", "call_each"):
        plain = getattr(store._scripts, name)
        setattr(store._scripts, name, lambda *args, _plain=plain, **words: fuse.around(_plain, *args, **words))
    return store


def run_until_killed(world: World, settings: JobsSettings, fuse: Fuse, batch: BatchId) -> None:
    """Turns of a runner with a fuse, and of a worker without one, until the fuse blows or the batch has ended."""
    store = fused_store(settings, fuse)
    doomed = World.__new__(World)
    doomed.__dict__ |= world.__dict__ | {"store": store}
    runner = doomed.runner(blobs=Fused(world.blobs, fuse), name="doomed")
    try:
        for _ in range(50):
            with suppress(StoreUnavailable):
                runner.step()
            for work in runner._works.values():
                work.hold_until = 0.0
            if batch not in runner._works:
                # Taken, and the answer was lost: its lease ends.
                world.store._redis.zadd("{photomend}:batches", {batch: 0}, xx=True)
            world.work()
            if world.get(batch).state is BatchState.SUCCEEDED:
                break
    except Killed:
        pass
    finally:
        # Its threads end with a process.
        runner._pool.shutdown()
        store.close()


def deliver(world: World, settings: JobsSettings, fuse: Fuse, *, is_followed: bool = True) -> None:
    for key in LINES:
        if key != "missing.tif":
            world.scan(key)
    batch = world.submit(world.manifest([f"{world.scans},{key}" for key in LINES]))
    run_until_killed(world, settings, fuse, batch)
    if not is_followed:
        assert world.get(batch).state is BatchState.SUCCEEDED, "the same runner ended it"
    # Its lease ends.
    world.store._redis.zadd("{photomend}:batches", {batch: 0}, xx=True)
    world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == EXPECTED
    assert [row["status"] for row in world.report(batch)] == ["succeeded", "succeeded", "failed", "failed", "succeeded"]
    # Asked one by one: a listing of a real storage may lag.
    for name in "abc":
        for end in (".tif", "-provenance.json"):
            world.blobs.head(ObjectRef(bucket=world.out.bucket, key=f"{world.out.key}{name}{end}"))
    assert sorted(world.runs) == sorted(set(world.runs)), "no picture was worked on twice"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_call_that_fails_for_the_moment_costs_nothing_wherever_it_is(
    redis_settings: JobsSettings, after: bool
) -> None:
    store, place, blown = JobStore.connect(redis_settings), 0, True
    while blown:
        store._redis.flushall()
        world, fuse = World(store, MemoryBlobs()), Hiccup(place, after=after)
        deliver(world, redis_settings, fuse, is_followed=False)
        blown, place = fuse.blown, place + 1
    assert place > 30, "a run has many calls"
    store.close()


def effects_of(make: Callable[[], World], settings: JobsSettings) -> int:
    fuse = Fuse()
    deliver(make(), settings, fuse)
    return fuse.count


@pytest.mark.timeout(180)
def test_a_runner_that_stops_at_any_effect_is_followed_by_one_that_ends_the_batch(redis_settings: JobsSettings) -> None:
    store = JobStore.connect(redis_settings)

    def fresh() -> World:
        store._redis.flushall()
        return World(store, MemoryBlobs())

    count = effects_of(fresh, redis_settings)
    assert count > 20, "a run has many effects"
    for place in range(count):
        # After one effect is before the next.
        fuse = Fuse(place, after=True)
        deliver(fresh(), redis_settings, fuse)
        # What comes of threads may be one call more or less.
        assert fuse.blown or place > count - 5, place
    store.close()


@pytest.mark.timeout(180)
def test_the_same_on_a_real_storage(jobs_settings: JobsSettings, bucket: str) -> None:
    store, blobs = JobStore.connect(jobs_settings), BlobStore.connect(jobs_settings)
    scans = f"{bucket}-scans"
    world = World(store, blobs, bucket=bucket, scans=scans)
    for place, after in ((4, True), (9, False)):
        world.runs.clear()
        fuse = Fuse(place, after=after)
        # Nothing of the round before is there.
        world.out = ObjectRef(bucket=world.out.bucket, key=f"delivery-{place}/")
        deliver(world, jobs_settings, fuse)
        assert fuse.blown
    assert store.batches.page(LOCAL_TENANT).batches
    store.close()
