"""Batches over HTTP: what is taken, refused and told, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jobs.batches.model import BatchId, BatchState
from jobs.keys import Scope
from jobs.model import LOCAL_TENANT, Tenant, TenantId
from jobs.settings import JobsSettings
from tests.doubles import MemoryBlobs
from tests.integration.api.conftest import ALLOWED_CALLBACK, Service, make_settings, problem
from tests.integration.jobs.batch_world import World

BY_PREFIX = {"prefix": {"uri": "s3://scans/in/"}, "output": "s3://mended/delivery/"}


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def service(redis_settings: JobsSettings, blobs: MemoryBlobs) -> Iterator[Service]:
    made = Service(make_settings(redis_settings), blobs=blobs)  # type: ignore[arg-type]
    yield made
    made.store.close()


@pytest.fixture
def world(service: Service, blobs: MemoryBlobs) -> World:
    return World(service.store, blobs)


def submit(service: Service, **words: Any) -> dict[str, Any]:
    answer = service.call("POST", "/v1/batches", json=BY_PREFIX | words)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/batches/{answer.json()['id']}"
    return answer.json()


def test_a_stream_of_events_ends_when_its_key_is_revoked(service, world, serve, monkeypatch):
    monkeypatch.setattr("api.keys.KEPT_S", 0.0)
    world.scan("in/a.tif")
    world.open_to(Tenant(id=LOCAL_TENANT))
    key, kept = service.store.keys.create(LOCAL_TENANT)
    batch = submit(service)
    url, shown = serve(service) + batch["urls"]["self"], {"Authorization": f"Bearer {key}"}
    with httpx.stream("GET", f"{url}/events", headers=shown, timeout=20) as answer:
        lines = answer.iter_lines()
        assert "event: progress" in lines
        service.call("POST", f"{batch['urls']['self']}/cancel")
        # Told on the same stream: its key was asked about meanwhile, and is good.
        assert any('"canceling"' in line for line in lines)
        service.store.keys.revoke(kept.id)
        rest = list(lines)
    assert not any(line.startswith("event: end") for line in rest)
    assert httpx.get(url, headers=shown, timeout=20).status_code == 401


def test_a_delivery_is_submitted_watched_and_reported(service: Service, world: World) -> None:
    for key in ("in/a.tif", "in/bad.tif", "in/c.tif"):
        world.scan(key)
    callback = {"url": f"http://{ALLOWED_CALLBACK}/hook"}
    said = submit(service, callback=callback, metadata={"order": "7"}, options={"scale": 3})
    assert (said["status"], said["options"]["precision"], said["items"]["is_counted"]) == ("preparing", "exact", False)
    path = said["urls"]["self"]
    problem(service.call("GET", f"{path}/report"), 409, "result_not_ready")
    runner = world.runner()
    world.until(BatchId(said["id"]), BatchState.RUNNING, runner=runner)
    runner.step()
    flying = service.call("GET", f"{path}/items?status=in_flight&limit=2").json()
    assert ([item["number"] for item in flying["items"]], flying["next_cursor"]) == ([1, 2], 2)
    rest = service.call("GET", f"{path}/items?status=in_flight&cursor=2").json()
    assert ([item["number"] for item in rest["items"]], rest["next_cursor"]) == ([3], None)
    listed = service.call("GET", f"/v1/jobs?batch={said['id']}").json()["jobs"]
    assert {job["id"] for job in listed} == {item["job_id"] for item in flying["items"] + rest["items"]}
    assert {job["batch"] for job in listed} == {said["id"]}
    assert service.call("GET", f"/v1/jobs?batch=batch_{'0' * 32}").json()["jobs"] == []
    world.until(BatchId(said["id"]), BatchState.SUCCEEDED, runner=runner)
    runner.close()

    done = service.call("GET", path).json()
    assert done["items"] == {
        "total": 3, "is_counted": True, "waiting": 0, "in_flight": 0, "succeeded": 2, "skipped": 0, "failed": 1,
        "canceled": 0,
    }  # fmt: skip
    assert done["pins"]["weights"]["preview"] == "1" * 64
    failed = service.call("GET", f"{path}/items").json()
    assert [(item["number"], item["error_code"]) for item in failed["items"]] == [(2, "image_truncated")]
    good = service.call("GET", f"{path}/items?status=succeeded&limit=1").json()
    assert ([item["number"] for item in good["items"]], good["next_cursor"]) == ([1], 1)
    assert service.call("GET", f"{path}/items?status=succeeded&cursor=1").json()["items"][0]["number"] == 3
    for file in ("csv", "jsonl", "html", "checksums", "manifest"):
        place = service.call("GET", f"{path}/report?file={file}", headers={"Accept": "application/json"}).json()
        assert place["url"].startswith("memory://mended/delivery/_photomend/")
    assert service.call("GET", f"{path}/report").status_code == 303
    stream = service.call("GET", f"{path}/events").text
    assert [line for line in stream.splitlines() if line.startswith("event:")] == ["event: end"]
    (delivery,) = service.store.due_callbacks(limit=9, lease_s=9)
    told = json.loads(delivery.body)
    assert (told["type"], told["data"]["id"], told["data"]["status"]) == ("batch.completed", said["id"], "succeeded")
    assert told["data"]["metadata"] == {"order": "7"}
    assert delivery.url == callback["url"]
    service.store.callback_gone(delivery.id, error="410")
    assert service.store.replay_callbacks([delivery.id]) == (delivery.id,)
    assert [batch["id"] for batch in service.call("GET", "/v1/batches").json()["batches"]] == [said["id"]]


def test_a_batch_is_paused_resumed_canceled_and_tried_again(service: Service, world: World) -> None:
    for n in range(3):
        world.scan(f"in/{n}.tif")
    path = submit(service)["urls"]["self"]
    batch = BatchId(path.rpartition("/")[2])
    problem(service.call("POST", f"{path}/pause"), 409, "illegal_state")
    problem(service.call("POST", f"{path}/retry-failed"), 409, "illegal_state")
    runner = world.runner()
    world.until(batch, BatchState.RUNNING, runner=runner)
    assert service.call("POST", f"{path}/pause").json()["status"] == "paused"
    assert service.call("POST", f"{path}/resume").json()["status"] == "running"
    assert service.call("POST", f"{path}/cancel").json()["status"] == "canceling"
    problem(service.call("POST", f"{path}/resume"), 409, "illegal_state")
    world.until(batch, BatchState.CANCELED, runner=runner)
    again = service.call("POST", f"{path}/retry-failed")
    assert (again.status_code, again.json()["generation"], again.json()["status"]) == (202, 2, "running")
    world.until(batch, BatchState.SUCCEEDED, runner=runner)
    runner.close()
    assert world.reconcile(batch) == {"succeeded": 3}


def test_a_manifest_is_pinned_to_the_version_that_lies_there(service: Service, world: World) -> None:
    told = world.manifest(["scans,in/a.tif"])
    named = {"uri": told.ref.uri, "format": "csv"}
    words = {"manifest": named, "output": "s3://mended/x/"}
    answer = service.call("POST", "/v1/batches", json=words)
    assert answer.json()["manifest"] == named | {"etag": told.etag}
    stale = {"manifest": named | {"etag": "old"}, "output": "s3://mended/x/"}
    problem(service.call("POST", "/v1/batches", json=stale), 422, "manifest_invalid")
    missing = {"manifest": named | {"uri": "s3://scans/none.csv"}, "output": "s3://mended/x/"}
    problem(service.call("POST", "/v1/batches", json=missing), 422, "manifest_invalid")


@pytest.mark.parametrize(
    ("words", "code", "pointer"),
    [
        ({"output": "s3://scans/in/out/"}, "invalid_request", "/output"),
        ({"output": "s3://scans/"}, "invalid_request", "/output"),
        ({"output": "s3://scans/in"}, "invalid_request", "/output"),
        ({"output": "mended/"}, "invalid_request", "/output"),
        ({"output": "s3://mended/../x/"}, "invalid_request", "/output"),
        ({"output": "s3://photomend/results/local/"}, "output_denied", "/output"),
        ({"output": "s3://photomend/batches/local/"}, "output_denied", "/output"),
        ({"naming": "{stem}"}, "invalid_request", "/naming"),
        ({"options": {"scale": 9}}, "invalid_option", "/options/scale"),
        ({"manifest": {"uri": "s3://scans/a.csv", "format": "csv"}}, "invalid_request", ""),
        ({"prefix": None}, "invalid_request", ""),
        ({"failure_threshold": 1}, "invalid_request", "/failure_threshold"),
        ({"callback": {"url": "http://10.0.0.1/"}}, "callback_refused", "/callback/url"),
        ({"colour": 1}, "invalid_request", "/colour"),
        ({"prefix": {"uri": "scans"}}, "invalid_request", "/prefix/uri"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(service: Service, world: World, words, code: str, pointer: str) -> None:
    answer = service.call("POST", "/v1/batches", json=BY_PREFIX | words)
    said = problem(answer, answer.status_code, code)
    assert said["pointer"] == pointer
    assert service.store.batches.page(LOCAL_TENANT).batches == ()


def test_the_same_key_is_the_same_batch(service: Service, world: World) -> None:
    headers = {"Idempotency-Key": "seven"}
    first = service.call("POST", "/v1/batches", json=BY_PREFIX, headers=headers)
    second = service.call("POST", "/v1/batches", json=BY_PREFIX, headers=headers)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    other = service.call("POST", "/v1/batches", json=BY_PREFIX | {"report": "failed"}, headers=headers)
    problem(other, 422, "idempotency_mismatch")


def test_a_tenant_reads_and_delivers_only_where_the_operator_says(redis_settings: JobsSettings, blobs) -> None:
    service = Service(make_settings(redis_settings, api_keys_required=True), blobs=blobs)
    World(service.store, blobs)
    bob = TenantId("bob")
    service.store.set_tenant(Tenant(id=bob, inputs=("scans/bob",), outputs=("mended/bob",)))
    assert service.store.tenant(bob).outputs == ("mended/bob",)
    keys = {scope: service.store.keys.create(bob, scopes=[scope])[0] for scope in (Scope.READ, Scope.SUBMIT)}

    def post(source: str, output: str, scope: Scope = Scope.SUBMIT) -> Any:
        words = {"prefix": {"uri": source}, "output": output}
        return service.call("POST", "/v1/batches", json=words, headers={"Authorization": f"Bearer {keys[scope]}"})

    good = ("s3://scans/bob/", "s3://mended/bob/1923/")
    assert post(*good).status_code == 202
    problem(post(*good, scope=Scope.READ), 403, "missing_scope")
    for source in ("s3://scans/", "s3://scans/bobby/", "s3://other/bob/"):
        problem(post(source, good[1]), 403, "input_denied")
    for output in ("s3://mended/", "s3://mended/bobby/", "s3://scans/x/"):
        problem(post(good[0], output), 403, "output_denied")
    service.store._redis.hset("{photomend}:tenant:bob", "outputs", '["elsewhere"]')
    assert service.store.tenant(bob).outputs == ()
    service.store.close()
