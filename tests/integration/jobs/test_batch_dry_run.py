"""A dry run says what a batch would come to, and does nothing; what devices' time costs, by jobs that were measured."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest

from jobs.batches.manifest import Prefix, read
from jobs.batches.model import BatchState
from jobs.batches.view import batch_view
from jobs.errors import IllegalMove, StorageUnavailable
from jobs.model import LOCAL_TENANT
from jobs.price import Price
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests import fleet, samples
from tests.doubles import MemoryBlobs
from tests.integration.jobs.batch_world import World
from worker import batch_dry_run, batch_survey, batches
from worker.batch_hands import Work

MODEL = {"name": "preview", "sha256": "1" * 64, "engine": "torch-cpu", "precision": "float32", "background": "none"}


@pytest.fixture
def store(redis_settings: JobsSettings, store: JobStore) -> JobStore:
    del store  # it has made sure that Redis is empty
    return JobStore.connect(redis_settings.model_copy(update={"gpu_hour_price": 3.6}))


@pytest.fixture
def world(store: JobStore) -> World:
    return World(store, MemoryBlobs())


@functools.cache
def picture(width: int, height: int) -> bytes:
    return fleet.png(width, height)


def measure(store: JobStore, *, gpu_s: float, upsample_s: float = 0.0, background: str = "none") -> None:
    """A job that took so long."""
    job = store.submit(samples.job()).job
    store.claim(job.id, worker="w", lease_s=30)
    metrics = {"gpu_s": gpu_s, "gpu_upsample_s": upsample_s, "megapixels": 2.0}
    result = dataclasses.replace(samples.result(), model=MODEL | {"background": background}, metrics=metrics)
    store.commit(job.id, epoch=1, result=result)


def everything(world: World) -> dict[str, bytes]:
    return {
        line.ref.uri: line.etag.encode() for bucket in ("scans", "mended", "photomend")
        for line in world.blobs.list(bucket, prefix="")
    }  # fmt: skip


def test_a_dry_run_counts_looks_estimates_and_does_nothing(world: World) -> None:
    measure(world.store, gpu_s=36.0)
    for number in range(8):
        world.scan(f"in/{number}.png", picture(1000, 500 if number % 2 else 1500))
    world.scan("in/cut.png", picture(64, 64)[:20])
    world.scan("in/letter.tif", b"no picture at all")
    lines = [f"scans,in/{n}.png" for n in range(8)] + ["scans,in/0.png", "scans,in/cut.png", "scans,in/letter.tif"]
    lines += ["scans,in/missing.png", "nonsense", "mended,delivery/in/a.png"]
    before, records = everything(world), set(world.store._redis.scan_iter("*:job:*"))
    batch = world.submit(world.manifest(lines), dry_run=True)
    done = world.until(batch, BatchState.SUCCEEDED, BatchState.FAILED)
    found = done.estimate
    assert found is not None
    assert (done.state, found.lines, found.repeated) == (BatchState.SUCCEEDED, 14, 1)
    assert (found.sample, found.looked, found.to_do, found.formats) == (11, 11, 8, {"image/png": 8})
    assert found.megapixels is not None
    assert (found.megapixels.total, found.megapixels.smallest, found.megapixels.largest) == (8.0, 0.5, 1.5)
    assert {(one.code, one.scope, one.count) for one in found.refused} == {
        ("image_truncated", "sample", 1),
        ("image_unreadable", "sample", 1),
        ("input_not_found", "sample", 1),
        ("bad_row", "lines", 1),
        ("output_in_source", "lines", 1),
    }
    assert {one.examples[0].number for one in found.refused} == {10, 11, 12, 13, 14}
    # Eight pictures like the one that took 36 s, at 3.60 an hour.
    assert (found.gpu_s, found.measured_jobs) == (288.0, 1)
    view = batch_view(done)
    assert view["estimate"]["cost"] == {"amount": 0.288, "currency": "EUR"}
    assert (view["items"]["is_counted"], view["items"]["total"], view["urls"]["report"]) == (True, 14, None)
    # Nothing but the manifest of this test was written, no job was made, and nothing is left.
    assert {name for name in everything(world).keys() - before.keys() if "lists/" not in name} == set()
    assert (world.runs, set(world.store._redis.scan_iter("*:job:*"))) == ([], records)
    with pytest.raises(IllegalMove):
        world.store.batches.retry_failed(batch, tenant=LOCAL_TENANT)


def test_names_that_would_collide_and_results_that_are_there_are_told(world: World) -> None:
    for key in ("a/x.png", "b/x.png", "a/y.png"):
        world.scan(key, picture(100, 100))
    lines = ["scans,a/x.png", "scans,a/y.png"]
    words: dict[str, Any] = {"naming": "{stem}{ext}"}
    world.until(world.submit(world.manifest(lines), **words), BatchState.SUCCEEDED)
    world.scan("a/y.png", picture(100, 101))
    again = world.submit(world.manifest([*lines, "scans,b/x.png"]), dry_run=True, **words)
    found = world.until(again, BatchState.SUCCEEDED).estimate
    assert found is not None
    assert (found.there, found.to_do, found.gpu_s) == (1, 0, 0.0)
    assert {one.code: one.examples[0].number for one in found.refused} == {"output_repeated": 3, "output_exists": 2}
    assert "line 1" in next(one for one in found.refused if one.code == "output_repeated").examples[0].detail


def test_without_a_worker_or_a_measured_job_it_says_what_it_does_not_know(store: JobStore) -> None:
    world = World(store, MemoryBlobs())
    store.withdraw_slots("w")
    world.scan("in/a.png", picture(100, 100))
    batch = world.submit(Prefix(bucket="scans", prefix="in/"), dry_run=True)
    found = world.until(batch, BatchState.SUCCEEDED).estimate
    assert found is not None
    assert (found.to_do, found.gpu_s, len(found.notes)) == (1, None, 2)
    assert batch_view(world.get(batch))["estimate"]["cost"] is None
    world.say_slots(({"name": "gfpgan-1.3", "sha256": "1" * 64, "kind": "restorer"},))
    other = world.submit(Prefix(bucket="scans", prefix="in/"), dry_run=True)
    notes = world.until(other, BatchState.SUCCEEDED).estimate.notes  # type: ignore[union-attr]
    assert "weights_missing" in notes[0]


def test_a_large_picture_is_refused_by_the_operators_limit_and_an_empty_list_fails(world: World) -> None:
    world.scan("in/a.png", picture(200, 100))
    batch = world.submit(Prefix(bucket="scans", prefix="in/"), dry_run=True)
    runner = world.runner(max_pixels=19_999)
    found = world.until(batch, BatchState.SUCCEEDED, runner=runner).estimate
    assert [one.code for one in found.refused] == ["image_too_large"]  # type: ignore[union-attr]
    empty = world.submit(Prefix(bucket="scans", prefix="nothing/"), dry_run=True)
    failed = world.until(empty, BatchState.FAILED, runner=runner)
    assert failed.failure is not None
    assert failed.failure.code == "manifest_empty"


def test_a_dry_run_survives_trouble_and_another_keeper_and_can_be_canceled(world: World, monkeypatch) -> None:
    monkeypatch.setattr(batches, "TROUBLE_S", 0.0)
    monkeypatch.setattr(batch_dry_run, "LOOKS_A_TURN", 4)
    for number in range(12):
        world.scan(f"in/{number:02}.png", picture(100, 100))
    batch = world.submit(Prefix(bucket="scans", prefix="in/"), dry_run=True)
    first = world.runner(name="first")
    first._go_on(first._works.setdefault(batch, _taken(first)))
    assert world.get(batch).state is BatchState.PREPARING
    first.close()
    real, calls = world.blobs.read_range, iter(range(100))

    def shaky(*args: Any, **words: Any) -> bytes:
        if next(calls) % 5 == 0:
            raise StorageUnavailable("for a moment")
        return real(*args, **words)

    monkeypatch.setattr(world.blobs, "read_range", shaky)
    found = world.until(batch, BatchState.SUCCEEDED).estimate
    assert (found.looked, found.to_do, next(calls) > 12) == (12, 12, True)  # type: ignore[union-attr]
    other = world.submit(Prefix(bucket="scans", prefix="in/"), dry_run=True)
    world.store.batches.cancel(other, tenant=LOCAL_TENANT)
    assert world.until(other, BatchState.CANCELED).estimate is None


def _taken(runner: batches.BatchRunner) -> Work:
    return Work(batch=runner._batches.lease("first", lease_s=30.0, limit=1)[0])


def test_the_sample_is_drawn_by_chance_and_the_same_each_time(world: World, monkeypatch) -> None:
    monkeypatch.setattr(batch_survey, "SAMPLE", 20)
    batch = world.get(world.submit(world.manifest([f"scans,{n}.png" for n in range(400)]), dry_run=True))
    lines = [entry for entry, _ in read(world.blobs, batch.spec.source)]  # type: ignore[arg-type]

    def drawn() -> list[int]:
        survey = batch_survey.Survey(batch=batch)
        for entry in lines:
            survey.add(entry)
        survey.close()
        return [item for item, _ in survey.waiting]

    assert drawn() == drawn()
    assert len(drawn()) == 20
    # By chance: neither the first ones nor at even steps.
    assert max(drawn()) > 200
    assert len({b - a for a, b in zip(drawn(), drawn()[1:], strict=False)}) > 3


# -- what it is known by


def test_paces_are_means_of_what_jobs_took_by_model_background_and_device(store: JobStore) -> None:
    for gpu_s in (3.0, 5.0):
        measure(store, gpu_s=gpu_s + 2.0, upsample_s=2.0, background="preview-x2")
    pace = store.paces.of(model="preview", background="preview-x2", devices=("cpu",), exact=True)
    assert pace is not None
    assert (pace.jobs, pace.picture_s, pace.megapixel_s) == (2, 4.0, 1.0)
    assert pace.seconds(pictures=10, megapixels=100) == 140.0
    assert store.paces.of(model="preview", background="preview-x2", devices=("cuda",), exact=True) is None
    assert store.paces.of(model="preview", background="none", devices=(), exact=True) is None
    # In want of exact ones others are taken.
    assert store.paces.of(model="preview", background="preview-x2", devices=(), exact=False) == pace


def test_devices_time_is_told_by_tenant_and_batch_with_its_cost(world: World) -> None:
    for key in ("a.tif", "b.tif", "bad.tif"):
        world.scan(key)
    batch = world.submit(world.manifest(["scans,a.tif", "scans,b.tif", "scans,bad.tif"]))
    done = world.until(batch, BatchState.SUCCEEDED)
    assert (done.gpu_s, done.price) == (1.0, Price(hour=3.6, currency="EUR"))
    assert batch_view(done)["cost"] == {"amount": 0.001, "currency": "EUR"}
    spent = world.store.tenants.spent(LOCAL_TENANT)
    assert (spent.today_s, spent.month_s, spent.year_s) == (1.0, 1.0, 1.0)
    key = f"{{photomend}}:spent:{LOCAL_TENANT}"
    world.store._redis.hset(key, mapping={"1": "5", "20000": "7"})
    world.store._redis.hdel(key, str(_today(world)))
    measure(world.store, gpu_s=2.0)
    assert world.store.tenants.spent(LOCAL_TENANT).year_s == 2.0
    # Days of long ago are forgotten.
    assert set(world.store._redis.hkeys(key)) == {str(_today(world))}


def _today(world: World) -> int:
    return int(world.store._redis.time()[0]) // 86_400


def test_a_batch_pinned_before_a_price_was_known_tells_no_cost(redis_settings: JobsSettings) -> None:
    world = World(JobStore.connect(redis_settings), MemoryBlobs())
    batch = world.get(world.submit(world.manifest(["scans,a.tif"])))
    assert (batch.price, batch_view(batch)["cost"]) == (None, None)
