"""Batches on a real Redis: from the manifest to the report, with everything that may come between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest

from jobs.batches import model
from jobs.batches.manifest import ManifestFormat, Prefix
from jobs.batches.model import ENDED, MOVES, PART_ROWS, BatchSpec, BatchState, new_batch_id
from jobs.batches.store import BatchNotFound, Settled, piece_ref
from jobs.connection import script_text
from jobs.errors import Fenced, IllegalMove, SpecForged
from jobs.model import LOCAL_TENANT, ObjectRef, TenantId
from jobs.options import JobOptions
from jobs.outcomes import Idempotency
from jobs.states import JobState
from jobs.store import JobStore
from tests.doubles import MemoryBlobs
from tests.integration.jobs.batch_world import OUT, World

#: What the scripts of batches share.
SHARED = script_text("batch_lease").split("-- Gives batches that nobody runs")[0]


@pytest.fixture
def world(store: JobStore) -> World:
    return World(store, MemoryBlobs())


def keys(world: World, bucket: str) -> set[str]:
    return {line.ref.key for line in world.blobs.list(bucket, prefix="") if "_photomend" not in line.ref.key}


@pytest.mark.parametrize(("origin", "to"), list(itertools.product(BatchState, BatchState)))
def test_lua_and_python_agree_on_every_pair_of_states(store: JobStore, origin: BatchState, to: BatchState) -> None:
    script = SHARED + "return batch_legal(ARGV[1], ARGV[2])"
    assert bool(store._redis.eval(script, 0, origin, to)) is (to in MOVES[origin])


def test_a_delivery_of_good_bad_and_impossible_lines_ends_with_a_row_for_each(world: World) -> None:
    for key in ("in/a.tif", "in/b c.TIF", "in/bad.tif"):
        world.scan(key)
    before = {key: world.blobs.head(ObjectRef(bucket="scans", key=key)).etag for key in keys(world, "scans")}
    lines = [
        "scans,in/a.tif",
        "scans,in/b%20c.TIF",
        "scans,in/bad.tif",
        "scans,in/missing.tif",
        "nonsense",
        "scans,../x",
    ]
    batch = world.submit(world.manifest(lines))
    done = world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == {"succeeded": 2, "failed": 4}
    rows = world.report(batch)
    assert [row["error_code"] for row in rows] == [
        None, None, "image_truncated", "input_not_found", "bad_row", "bad_row",
    ]  # fmt: skip
    good = rows[0]
    assert good["source"] == "s3://scans/in/a.tif"
    assert {file["key"] for file in good["outputs"]} == {"delivery/in/a.tif", "delivery/in/a-provenance.json"}
    assert (good["faces_found"], good["model"], good["seconds"]) == (1, "preview", 0.5)
    assert len(good["source_sha256"]) == len(good["recipe_sha256"]) == 64
    image = ObjectRef(bucket="mended", key="delivery/in/b c.TIF")
    assert world.blobs.head(image).metadata["sha256"] == next(
        file["sha256"] for file in rows[1]["outputs"] if file["part"] == "image"
    )
    assert (done.total, done.gpu_s, done.megapixels) == (6, 1.0, 4.0)
    # Masters are as they were, and nothing else is left in the installation's bucket or in Redis.
    assert {key: world.blobs.head(ObjectRef(bucket="scans", key=key)).etag for key in before} == before
    assert not {key for key in keys(world, "photomend") if key.startswith("results/")}
    assert world.left_over(batch) == set()


def test_what_is_to_come_of_batches_is_part_of_the_backlog_and_wakes_a_fleet_of_none(world: World) -> None:
    for number in range(40):
        world.scan(f"in/{number:02}.tif")
    world.store.withdraw_slots("w")
    batch = world.submit(Prefix(bucket="scans", prefix="in/"))
    runner = world.runner(window=10)
    assert world.store.figures().work_s == 0
    runner.step()
    # It cannot begin, and no worker would ever come if nothing said that one is needed.
    assert (world.store.figures().to_come, world.get(batch).state) == (1, BatchState.PREPARING)
    assert world.store.figures().work_s > 0
    runner.close()
    world.say_slots()
    runner = world.runner(window=10)
    world.until(batch, BatchState.RUNNING, runner=runner)
    while not (found := world.store.figures()).unfinished:
        runner.step()
    assert found.unfinished + found.to_come == 40
    assert found.work_s == pytest.approx(4 * found.effort.seconds(jobs=10, estimated=found.estimated))
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert (world.store.figures().to_come, world.store.figures().work_s) == (0, 0)


def test_a_second_batch_skips_what_is_done_and_overwrites_nothing(world: World) -> None:
    for key in ("a.tif", "b.tif"):
        world.scan(key)
    lines = ["scans,a.tif", "scans,b.tif"]
    first = world.submit(world.manifest(lines))
    world.until(first, BatchState.SUCCEEDED)
    again = world.submit(world.manifest(lines))
    world.until(again, BatchState.SUCCEEDED)
    assert world.reconcile(again) == {"skipped": 2}
    assert sorted(world.runs) == ["a.tif", "b.tif"]
    other = world.submit(world.manifest(lines), options=JobOptions(scale=3.0, precision="exact"))
    world.until(other, BatchState.SUCCEEDED)
    assert world.reconcile(other) == {"failed": 2}
    assert {row["error_code"] for row in world.report(other)} == {"output_exists"}
    world.scan("a.tif", b"another picture")
    changed = world.submit(world.manifest(lines))
    world.until(changed, BatchState.SUCCEEDED)
    assert world.reconcile(changed) == {"skipped": 1, "failed": 1}


def test_the_same_line_twice_is_two_rows_and_one_result(world: World) -> None:
    world.scan("a.tif")
    batch = world.submit(world.manifest(["scans,a.tif", "scans,a.tif"]))
    world.until(batch, BatchState.SUCCEEDED)
    assert sum(world.reconcile(batch).values()) == 2
    assert {row["outputs"][0]["sha256"] for row in world.report(batch)} == {
        world.blobs.head(ObjectRef(bucket="mended", key="delivery/a.tif")).metadata["sha256"]
    }


def test_what_would_be_written_among_masters_is_refused(world: World) -> None:
    for key in ("delivery/x.tif", "a.tif"):
        world.scan(key)
    world.out = ObjectRef(bucket="scans", key="delivery/")
    batch = world.submit(world.manifest(["scans,delivery/x.tif"]))
    world.until(batch, BatchState.SUCCEEDED)
    assert [row["error_code"] for row in world.report(batch)] == ["output_in_source"]
    world.out = ObjectRef(bucket="scans", key="d/")
    world.scan("d2/../d/a.tif".replace("d2/../", ""))
    beside = world.submit(world.manifest(["scans,d/a.tif"]))
    world.until(beside, BatchState.SUCCEEDED)
    assert [row["error_code"] for row in world.report(beside)] == ["output_in_source"]
    assert world.runs == []


def test_lines_have_options_checksums_and_names_of_their_own(world: World) -> None:
    etag = world.scan("a.tif")
    lines = [
        {"source": "s3://scans/a.tif", "options": {"scale": 3}, "output": "named/one.tif", "etag": etag},
        {"source": "s3://scans/a.tif", "etag": "another"},
        {"source": "s3://scans/a.tif", "options": {"model": "restoreformer"}, "output": "two"},
    ]
    batch = world.submit(world.manifest([json.dumps(line) for line in lines], ManifestFormat.JSONL))
    world.until(batch, BatchState.SUCCEEDED)
    rows = world.report(batch)
    assert [row["error_code"] for row in rows] == [None, "input_changed", "weights_missing"]
    assert rows[0]["outputs"][0]["key"] == "delivery/named/one.tif"


def test_a_prefix_is_a_batch_as_well(world: World) -> None:
    for key in ("in/1/a.tif", "in/b.jpg", "in/c.txt", "other/d.tif"):
        world.scan(key)
    batch = world.submit(Prefix(bucket="scans", prefix="in/", exclude=("*.jpg",)))
    world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == {"succeeded": 1}
    assert "delivery/1/a.tif" in keys(world, "mended")


@pytest.mark.parametrize("change", ["changed", "gone", "empty"])
def test_a_manifest_that_cannot_be_used_fails_the_batch_by_a_code(world: World, change: str) -> None:
    told = world.manifest([] if change == "empty" else ["scans,a.tif"])
    batch = world.submit(told)
    if change == "changed":
        world.manifest(["scans,b.tif"])
    elif change == "gone":
        world.blobs.delete([told.ref])
    failed = world.until(batch, BatchState.FAILED)
    assert failed.failure is not None
    codes = {"changed": "manifest_invalid", "gone": "manifest_not_found", "empty": "manifest_empty"}
    assert failed.failure.code == codes[change]
    assert world.runs == []


def test_results_by_other_weights_than_the_batch_began_with_are_not_delivered(world: World) -> None:
    world.scan("a.tif")
    world.model = {"name": "preview", "sha256": "f" * 64, "engine": "torch-cpu"}
    batch = world.submit(world.manifest(["scans,a.tif"]))
    world.until(batch, BatchState.SUCCEEDED)
    assert [row["error_code"] for row in world.report(batch)] == ["pins_differ"]
    assert keys(world, "mended") == set()


def test_a_batch_waits_until_a_worker_says_what_it_has(store: JobStore) -> None:
    world = World(store, MemoryBlobs())
    store.withdraw_slots("w")
    world.scan("a.tif")
    batch = world.submit(world.manifest(["scans,a.tif"]))
    runner = world.runner()
    runner.step()
    assert (world.get(batch).state, world.get(batch).note) == (BatchState.PREPARING, "workers")
    runner.close()
    world.say_slots()
    assert world.until(batch, BatchState.SUCCEEDED).note == ""
    unknown = world.submit(world.manifest(["scans,a.tif"]), options=JobOptions(model="restoreformer"))
    failed = world.until(unknown, BatchState.FAILED)
    assert failed.failure is not None
    assert failed.failure.code == "weights_missing"


def many(world: World, count: int, *, bad: int = 0) -> list[str]:
    names = [f"{'bad' if n < bad else 'ok'}{n}.tif" for n in range(count)]
    for name in names:
        world.scan(name)
    return [f"scans,{name}" for name in names]


def test_pause_stops_what_is_new_and_resume_goes_on(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 30)))
    runner = world.runner(window=5)
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    assert world.get(batch).in_flight == 5
    world.store.batches.pause(batch, tenant=LOCAL_TENANT)
    world.work()
    for _ in range(3):
        runner.step()
    paused = world.get(batch)
    assert (paused.state, paused.in_flight, paused.counts.done) == (BatchState.PAUSED, 0, 5)
    world.store.batches.resume(batch, tenant=LOCAL_TENANT)
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": 30}


def test_a_canceled_batch_has_a_row_for_every_line_and_can_be_taken_up_again(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 30)))
    runner = world.runner(window=5)
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    world.work(limit=2)
    world.store.batches.cancel(batch, tenant=LOCAL_TENANT)
    world.until(batch, BatchState.CANCELED, runner=runner)
    assert world.reconcile(batch) == {"succeeded": 2, "canceled": 28}
    assert world.left_over(batch) == set()
    assert world.store.batches.cancel(batch, tenant=LOCAL_TENANT).state is BatchState.CANCELED
    world.store.batches.retry_failed(batch, tenant=LOCAL_TENANT)
    done = world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert (done.generation, world.reconcile(batch)) == (2, {"succeeded": 30})
    assert len(world.runs) == 30


def test_a_batch_canceled_before_it_was_read_has_its_rows_all_the_same(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 3)))
    world.store.batches.cancel(batch, tenant=LOCAL_TENANT)
    world.until(batch, BatchState.CANCELED)
    assert world.reconcile(batch) == {"canceled": 3}


def test_retry_failed_tries_again_what_failed_and_nothing_else(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 12, bad=4)))
    world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == {"succeeded": 8, "failed": 4}
    world.runs.clear()
    world.end = lambda job: World.end(world, job)  # type: ignore[method-assign]
    again = world.store.batches.retry_failed(batch, tenant=LOCAL_TENANT)
    assert (again.generation, again.counts.failed) == (2, 0)
    world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == {"succeeded": 8, "failed": 4}
    assert sorted(world.runs) == [f"bad{n}.tif" for n in range(4)]


def test_only_what_ended_with_failures_is_tried_again(world: World) -> None:
    world.scan("a.tif")
    batch = world.submit(world.manifest(["scans,a.tif"]))
    for _ in range(2):
        with pytest.raises(IllegalMove):
            world.store.batches.retry_failed(batch, tenant=LOCAL_TENANT)
        world.until(batch, BatchState.SUCCEEDED)


def test_too_many_failures_end_a_batch(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 60, bad=40)), failure_threshold=0.5)
    runner = world.runner(window=25)
    failed = world.until(batch, BatchState.FAILED, runner=runner)
    runner.close()
    assert failed.failure is not None
    assert failed.failure.code == "failure_threshold"
    counts = world.reconcile(batch)
    assert counts["failed"] < 40
    assert sum(counts.values()) == 60


def test_a_batchs_deadline_ends_it(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 5)), deadline_s=0.05)
    failed = world.until(batch, BatchState.FAILED, between=lambda: None)
    assert failed.failure is not None
    assert failed.failure.code == "deadline_exceeded"
    assert world.reconcile(batch) == {"canceled": 5}


def test_a_manifest_of_several_parts_keeps_few_rows_in_redis(world: World) -> None:
    lines = many(world, PART_ROWS + 10)
    batch = world.submit(world.manifest(lines))
    most = 0

    def look() -> None:
        nonlocal most
        client = world.store._redis
        rows = sum(client.hlen(key) for key in client.scan_iter("{photomend}:batch:*:rows:*"))
        most = max(most, rows)
        world.work()

    runner = world.runner(window=200)
    world.until(batch, BatchState.SUCCEEDED, runner=runner, between=look)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": len(lines)}
    assert most <= PART_ROWS + 10
    assert world.left_over(batch) == set()


def test_another_runner_goes_on_where_one_stopped_and_the_first_can_write_no_more(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 40)))
    first = world.runner(name="first", window=7)
    world.until(batch, BatchState.RUNNING, runner=first)
    first.step()
    world.work(limit=3)
    stale = world.get(batch)
    # Its lease ends.
    world.store._redis.zadd("{photomend}:batches", {batch: 0})
    second = world.runner(name="second", window=7)
    second.step()
    with pytest.raises(Fenced):
        world.store.batches.settle(stale, [Settled(item=39, state=model.ItemState.FAILED, row="{}")])
    for call in (
        lambda: world.store.batches.beat(stale, lease_s=1, limit=1),
        lambda: world.store.batches.open(stale, 1, rows=5, kept={}),
        lambda: world.store.batches.written(stale, 0, again=[]),
        lambda: world.store.batches.note(stale, to=BatchState.COMPLETING),
        lambda: world.store.batches.strays(stale, [1]),
    ):
        with pytest.raises(Fenced):
            call()
    first.step()
    world.until(batch, BatchState.SUCCEEDED, runner=second)
    for runner in (first, second):
        runner.close()
    assert world.reconcile(batch) == {"succeeded": 40}
    assert sorted(world.runs) == sorted(set(world.runs)), "nothing was done twice"


def test_a_stopped_keeper_gives_its_batches_back_at_once(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 5)))
    first = world.runner(window=2)
    world.until(batch, BatchState.RUNNING, runner=first)
    first.close()
    world.until(batch, BatchState.SUCCEEDED)
    assert world.reconcile(batch) == {"succeeded": 5}


def test_jobs_that_were_lost_are_submitted_again(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 5)))
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    lost = world.store.batches.window(world.get(batch))[0]
    for key in ("job:", "index:local:queued", "backlog:batch:local"):
        if key == "job:":
            world.store._redis.delete(f"{{photomend}}:job:{lost.id}")
        else:
            world.store._redis.zrem(f"{{photomend}}:{key}", lost.id)
    runner._works[batch].reconcile_at = 0.0
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": 5}


def test_an_owner_who_ends_single_jobs_of_a_batch_gets_rows_that_say_so(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 4)))
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    first, second, *_ = world.store.batches.window(world.get(batch))
    assert (first.batch, first.item, first.priority) == (batch, 0, "batch")
    world.store.cancel(first.id)
    claimed = world.store.claim(second.id, worker="w", lease_s=30)
    assert not isinstance(claimed, str)
    world.end(claimed)
    assert world.store.delete(second.id).state is JobState.EXPIRED
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": 2, "canceled": 1, "failed": 1}
    assert world.report(batch)[1]["error_code"] == "result_expired"


def test_a_forged_item_or_batch_leads_to_no_object(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 2)))
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    job = world.store.batches.window(world.get(batch))[0]
    record = f"{{photomend}}:job:{job.id}"
    world.work()
    world.store._redis.hset(record, "spec", world.store._redis.hget(record, "spec").replace("ok0", "secret"))
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": 1, "failed": 1}
    assert world.report(batch)[0]["error_code"] == "spec_forged"
    forged = world.submit(world.manifest(["scans,ok0.tif"]))
    spec = world.store._redis.hget(f"{{photomend}}:batch:{forged}", "spec")
    world.store._redis.hset(f"{{photomend}}:batch:{forged}", "spec", spec.replace("mended", "elsewhere"))
    with pytest.raises(SpecForged):
        world.store.batches.get_genuine(forged)
    other = world.runner()
    other.step()
    other.close()
    assert world.get(forged).state is BatchState.PREPARING


def test_a_batch_asks_for_what_it_asked_for_when_it_was_taken(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 2)))
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    record = f"{{photomend}}:batch:{batch}"
    spec = world.store._redis.hget(record, "spec")
    world.blobs.ensure_bucket("elsewhere")
    world.store._redis.hset(record, "spec", spec.replace("mended", "elsewhere"))
    for _ in range(3):
        runner.step()
        world.work()
    world.store._redis.hset(record, "spec", spec)
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert keys(world, "elsewhere") == set()
    assert len(keys(world, "mended")) == 4


def test_a_settled_jobs_own_results_are_deleted_and_nothing_else_that_its_record_names(world: World) -> None:
    batch = world.submit(world.manifest(many(world, 1)))
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    runner.step()
    (job,) = world.store.batches.window(world.get(batch))
    world.work()
    record = f"{{photomend}}:job:{job.id}"
    words = json.loads(world.store._redis.hget(record, "result"))
    master = words["artifacts"][0] | {"part": "mask", "ref": {"bucket": "scans", "key": "ok0.tif"}}
    world.store._redis.hset(record, "result", json.dumps(words | {"artifacts": [*words["artifacts"], master]}))
    world.until(batch, BatchState.FAILED, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.report(batch)[0]["error_code"] == "spec_forged"
    assert "ok0.tif" in keys(world, "scans")


def test_a_batch_that_cannot_go_on_does_not_stop_the_others(world: World) -> None:
    for key in ("a.tif", "b.tif"):
        world.scan(key)
    broken = world.submit(world.manifest(["scans,a.tif"]))
    runner = world.runner()
    while not world.get(broken).is_prepared:
        runner._prepare(runner._works[broken]) if runner._works else runner._take()
    piece = piece_ref("photomend", world.get(broken), 0)
    kept = world.blobs.get(piece, max_bytes=10**6)
    world.blobs.put(piece, b"no line of ours\n", content_type="text/plain")
    good = world.submit(world.manifest(["scans,b.tif"]))
    world.until(good, BatchState.SUCCEEDED, runner=runner)
    assert world.get(broken).state is BatchState.RUNNING
    world.blobs.put(piece, kept, content_type="text/plain")
    runner._works[broken].hold_until = 0.0
    world.until(broken, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(broken) == {"succeeded": 1}


def test_a_tenant_finds_its_own_batches_and_no_others(world: World) -> None:
    made = [world.submit(world.manifest(["scans,a.tif"])) for _ in range(3)]
    page = world.store.batches.page(LOCAL_TENANT, limit=2)
    assert [batch.id for batch in page.batches] == made[:0:-1]
    rest = world.store.batches.page(LOCAL_TENANT, limit=2, cursor=page.next_cursor)
    assert ([batch.id for batch in rest.batches], rest.next_cursor) == ([made[0]], None)
    stranger = TenantId("bob")
    assert world.store.batches.page(stranger).batches == ()
    calls: list[Callable[[], object]] = [
        lambda: world.store.batches.get(made[0], tenant=stranger),
        lambda: world.store.batches.cancel(made[0], tenant=stranger),
        lambda: world.store.batches.pause(made[0], tenant=stranger),
        lambda: world.store.batches.resume(made[0], tenant=stranger),
        lambda: world.store.batches.retry_failed(made[0], tenant=stranger),
        lambda: world.store.batches.get(new_batch_id()),
    ]
    for call in calls:
        with pytest.raises(BatchNotFound):
            call()


def test_the_same_key_makes_one_batch(world: World) -> None:
    spec = BatchSpec(source=world.manifest(["scans,a.tif"]), output=OUT)
    idempotency = Idempotency(key="k", fingerprint="f")
    first, is_again = world.store.batches.create(new_batch_id(), LOCAL_TENANT, spec, idempotency=idempotency)
    second, was_there = world.store.batches.create(new_batch_id(), LOCAL_TENANT, spec, idempotency=idempotency)
    assert (first.id, is_again, was_there) == (second.id, False, True)


def test_a_batch_that_ended_long_ago_is_forgotten_and_its_report_stays(world: World) -> None:
    world.scan("a.tif")
    batch = world.submit(world.manifest(["scans,a.tif"]))
    ended = world.until(batch, BatchState.SUCCEEDED)
    assert ended.state in ENDED
    assert keys(world, "photomend")
    world.store._redis.zadd("{photomend}:batches:old", {batch: 1})
    runner = world.runner()
    runner.step()
    runner.close()
    assert keys(world, "photomend") == set()
    assert world.left_over(batch) == set()
    with pytest.raises(BatchNotFound):
        world.get(batch)
    assert any("_photomend" in line.ref.key for line in world.blobs.list("mended", prefix="delivery/"))
