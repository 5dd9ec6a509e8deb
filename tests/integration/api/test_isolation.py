"""A tenant can't see, name or change anything of another's: every call of one is made again by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.batches.model import BatchId, BatchState, ItemState
from jobs.batches.store import Settled, piece_ref
from jobs.connection import PREFIX
from jobs.delivery.rows import OutputFile, ReviewNote, Row, Status, to_words
from jobs.keys import Scope
from jobs.model import Tenant, TenantId
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.doubles import MemoryBlobs
from tests.integration.api.conftest import ALLOWED_CALLBACK, Service, make_settings, problem

ANN, BOB = TenantId("ann"), TenantId("bob")
#: These are about nobody's own.
OPEN = {"get /livez", "get /readyz", "get /problems/{code}", "get /v1/models", "get /metrics"}
#: These name nothing of anybody's: the other gets what is its own.
OWN = {
    "get /v1/jobs",
    "get /v1/batches",
    "post /v1/batches",
    "post /v1/uploads",
    "get /v1/callbacks/secrets",
    "post /v1/callbacks/test",
}
CALLBACK = {"url": f"http://{ALLOWED_CALLBACK}/hook", "events": ["job.started", "job.completed"]}


class World:
    """Two tenants, one of whom has something of everything."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._keys = {}
        for tenant in (ANN, BOB):
            places = {"inputs": (f"photos-of-{tenant}",), "outputs": (f"mended-of-{tenant}",)}
            service.store.set_tenant(Tenant(id=tenant, requests_per_min=0, **places))
            self._keys[tenant] = service.store.keys.create(tenant, scopes=[Scope.ADMIN])[0]
        self.upload = self.call(ANN, "POST", "/v1/uploads", json={"content_type": "image/png", "size": 9}).json()
        self.done = self._submit()
        service.finish(service.claim(self.done))
        self.waiting = self._submit()
        self.to_delete = self._submit()
        service.fail(service.claim(self.to_delete))
        self.batch = self._batch(BatchState.RUNNING)
        self._write_row(self.batch)
        self.ended_batch = self._batch(BatchState.RUNNING, BatchState.COMPLETING, BatchState.SUCCEEDED)
        self.canceled_batch = self._batch(BatchState.CANCELING, BatchState.COMPLETING, BatchState.CANCELED)

    def call(self, tenant: TenantId, method: str, path: str, **words: Any) -> Any:
        headers = words.pop("headers", {}) | {"Authorization": f"Bearer {self._keys[tenant]}"}
        return self.service.call(method, path, headers=headers, **words)

    def _submit(self) -> str:
        wish = {"input": "s3://photos-of-ann/a.png", "callback": CALLBACK}
        answer = self.call(ANN, "POST", "/v1/jobs", json=wish)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def _batch(self, *states: BatchState) -> str:
        wish = {"prefix": {"uri": "s3://photos-of-ann/"}, "output": "s3://mended-of-ann/x/"}
        answer = self.call(ANN, "POST", "/v1/batches", json=wish)
        assert answer.status_code == 202, answer.text
        batch = self.service.store.batches.get(BatchId(answer.json()["id"]))
        for state in states:
            batch = self.service.store.batches.note(batch, to=state, prepared=1, total=1, n_failed=1)
        return batch.id

    def _write_row(self, batch_id: str) -> None:
        """A result that a person should look at, and the line of the pinned manifest that it is of."""
        batches = self.service.store.batches
        batch = batches.get(BatchId(batch_id))
        image = OutputFile(part="image", key="x/a.png", sha256="0" * 64, bytes=9)
        flag = ReviewNote(face="g5k2p", code="tiny", reason="it is enlarged 9.0 times")
        row = Row(
            number=1, source="s3://photos-of-ann/a.png", status=Status.SUCCEEDED, outputs=(image,), review=(flag,)
        )
        batches.open(batch, 0, rows=1, kept={})
        batches.settle(
            batch, [Settled(item=0, state=ItemState.SUCCEEDED, row=json.dumps(to_words(row)), is_flagged=True)]
        )
        line = json.dumps({"source": row.source}).encode()
        place = piece_ref(self.service.settings.bucket, batch, 0)
        self.service.blobs.put(place, line, content_type="application/jsonl")

    def everything(self) -> dict[str, bytes]:
        """What the store has, but for when keys were used and how much of a rate is left."""
        redis = self.service.store._redis
        kept = (
            "batch",
            "job:",
            "upload:",
            "uploads",
            "index:",
            "backlog:",
            "idem:",
            "delivery:",
            "outbox",
            "trash",
            "retire",
        )
        names = sorted(n for n in redis.scan_iter(f"{PREFIX}*") if n.removeprefix(PREFIX).startswith(kept))
        return {name: redis.execute_command("DUMP", name, NEVER_DECODE=True) for name in names}


@pytest.fixture
def world(redis_settings: JobsSettings) -> Iterator[World]:
    blobs = MemoryBlobs()
    blobs.ensure_bucket(redis_settings.bucket)
    made = Service(make_settings(redis_settings, api_keys_required=True), blobs=blobs)  # type: ignore[arg-type]
    yield World(made)
    made.store.close()


def calls(world: World) -> dict[str, tuple[str, dict[str, Any]]]:
    """Every call that names something of Ann's: its path and what goes with it. What ends a thing comes last."""
    done, waiting = f"/v1/jobs/{world.done}", f"/v1/jobs/{world.waiting}"
    by_upload = {"json": {"upload_id": world.upload["upload_id"]}}
    batch, ended, canceled = (f"/v1/batches/{one}" for one in (world.batch, world.ended_batch, world.canceled_batch))
    return {
        "get /v1/batches/{batch_id}": (batch, {}),
        "get /v1/batches/{batch_id}/items": (f"{batch}/items?status=in_flight", {}),
        "get /v1/batches/{batch_id}/items/{number}": (f"{batch}/items/1", {}),
        "get /v1/batches/{batch_id}/items/{number}/result": (f"{batch}/items/1/result", {}),
        "post /v1/batches/{batch_id}/items/{number}/review": (
            f"{batch}/items/1/review",
            {"json": {"decision": "accepted"}},
        ),
        "get /v1/batches/{batch_id}/review": (f"{batch}/review", {}),
        "get /v1/batches/{batch_id}/review.csv": (f"{batch}/review.csv", {}),
        "post /v1/batches/{batch_id}/redo": (f"{batch}/redo", {"json": {"items": [{"number": 1}]}}),
        "get /v1/batches/{batch_id}/events": (f"{ended}/events", {}),
        "get /v1/batches/{batch_id}/report": (f"{ended}/report", {}),
        "post /v1/batches/{batch_id}/pause": (f"{batch}/pause", {}),
        "post /v1/batches/{batch_id}/resume": (f"{batch}/resume", {}),
        "post /v1/batches/{batch_id}/cancel": (f"{batch}/cancel", {}),
        "post /v1/batches/{batch_id}/retry-failed": (f"{canceled}/retry-failed", {}),
        "get /v1/jobs/{job_id}": (done, {}),
        "get /v1/jobs/{job_id}/result": (f"{done}/result", {}),
        "get /v1/jobs/{job_id}/events": (f"{done}/events", {}),
        "get /v1/jobs/{job_id}/callbacks": (f"{done}/callbacks", {}),
        "post /v1/jobs/{job_id}/callbacks/replay": (f"{done}/callbacks/replay", {}),
        "post /v1/jobs/{job_id}/review": (f"{done}/review", {"json": {"decision": "accepted"}}),
        "post /v1/jobs/{job_id}/redo": (f"{done}/redo", {"json": {"options": {"scale": 3}}}),
        "post /v1/jobs": ("/v1/jobs", by_upload),
        "post /v1/detect": ("/v1/detect", by_upload),
        "post /v1/jobs/{job_id}/cancel": (f"{waiting}/cancel", {}),
        "delete /v1/jobs/{job_id}": (f"/v1/jobs/{world.to_delete}", {}),
    }


def test_every_call_of_one_tenant_made_by_another_finds_nothing_and_changes_nothing(world: World) -> None:
    document = world.service.app.openapi()
    known = {f"{method} {path}" for path, methods in document["paths"].items() for method in methods}
    recorded = calls(world)
    assert known == set(recorded) | OPEN | OWN, "a call that is new needs a case here"
    for name, (path, words) in recorded.items():
        method = name.partition(" ")[0].upper()
        before = world.everything()
        answer = world.call(BOB, method, path, **words)
        code = "upload_not_found" if "upload_id" in str(words) else "job_not_found"
        code = "batch_not_found" if "/v1/batches/" in path else code
        said = problem(answer, 404, code)
        assert "ann" not in answer.text.replace("/v1/", ""), said
        assert world.everything() == before, name
        assert world.call(ANN, method, path, **words).status_code < 400, f"{name} is a call that works"


def test_a_list_has_only_ones_own(world: World) -> None:
    assert world.call(BOB, "GET", "/v1/jobs").json() == {"jobs": [], "next_cursor": None}
    assert world.call(BOB, "GET", "/v1/batches").json() == {"batches": [], "next_cursor": None}
    assert len(world.call(ANN, "GET", "/v1/batches").json()["batches"]) == 3
    assert {job["id"] for job in world.call(ANN, "GET", "/v1/jobs").json()["jobs"]} == {
        world.done,
        world.waiting,
        world.to_delete,
    }


def test_the_secret_that_callbacks_are_signed_with_is_ones_own(world: World) -> None:
    ann, bob = (world.call(tenant, "GET", "/v1/callbacks/secrets").json() for tenant in (ANN, BOB))
    assert set(ann["secrets"]).isdisjoint(bob["secrets"])


def test_the_same_idempotency_key_of_two_tenants_is_two_keys(world: World) -> None:
    jobs = set()
    for tenant in (ANN, BOB):
        wish = {"input": f"s3://photos-of-{tenant}/a.png"}
        answer = world.call(tenant, "POST", "/v1/jobs", json=wish, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 202
        assert "idempotent-replayed" not in answer.headers
        jobs.add(answer.json()["id"])
    assert len(jobs) == 2


@pytest.mark.parametrize(
    "uri",
    [
        "s3://photos-of-ann/a.png",
        "s3://photos-of-ann/no-such-thing.png",
        "s3://photos-of-bobby/a.png",
        "s3://no-such-bucket/a.png",
        "s3://photomend/results/ann/{done}/1-0/image.png",
        "s3://photomend/results/ann",
        "s3://photomend/uploads/ann/{upload}",
        "s3://photomend/anything.png",
    ],
)
def test_an_input_that_is_not_open_to_a_tenant_is_refused_alike_whether_it_is_there_or_not(world: World, uri) -> None:
    uri = uri.format(done=world.done, upload=world.upload["upload_id"])
    before = world.everything()
    said = problem(world.call(BOB, "POST", "/v1/jobs", json={"input": uri}), 403, "input_denied")
    assert said["detail"] == "Name an object that you may read, or ask the operator to open its place."
    assert world.everything() == before


def test_the_local_tenant_may_name_what_the_installation_reads_but_nothing_of_the_others(service: Service) -> None:
    answer = service.call("POST", "/v1/jobs", json={"input": "s3://any-bucket/a.png"})
    assert answer.status_code == 202
    for key in ("uploads/ann/upl_1", "results/ann/job_1/1-0/image.png"):
        refused = service.call("POST", "/v1/jobs", json={"input": f"s3://photomend/{key}"})
        problem(refused, 403, "input_denied")


def test_a_folder_opens_neither_its_namesakes_nor_the_rest_of_its_bucket(world: World) -> None:
    world.service.store.set_tenant(Tenant(id=BOB, inputs=("scans/bob",), requests_per_min=0))
    for key, status in (("bob/a.png", 202), ("bobby/a.png", 403), ("a.png", 403), ("bob", 403)):
        answer = world.call(BOB, "POST", "/v1/jobs", json={"input": f"s3://scans/{key}"})
        assert answer.status_code == status, key


def test_a_tenant_that_was_given_the_whole_bucket_of_the_installation_still_has_its_own_uploads_only(world) -> None:
    world.service.store.set_tenant(Tenant(id=BOB, inputs=("photomend",), requests_per_min=0))
    for key, status in (("scan.png", 202), ("uploads/bob/x", 202), (f"uploads/ann/{world.upload['upload_id']}", 403)):
        answer = world.call(BOB, "POST", "/v1/jobs", json={"input": f"s3://photomend/{key}"})
        assert answer.status_code == status, key


def test_a_writer_to_redis_opens_no_bucket_to_a_tenant(world: World, redis_settings: JobsSettings) -> None:
    store = JobStore.connect(redis_settings)
    store._redis.hset(f"{PREFIX}tenant:{BOB}", "inputs", '["photos-of-ann"]')
    assert store.tenant(BOB).inputs == ()
    store._redis.hdel(f"{PREFIX}tenant:{BOB}", "inputs", "code")
    assert store.tenant(BOB).inputs is None
    store.close()


def test_a_forged_record_leads_to_no_object_of_its_writers_choice(world: World) -> None:
    redis = world.service.store._redis
    record = f"{PREFIX}job:{world.done}"
    for forged in ("photos-of-bob", "photomend"):
        result = redis.hget(record, "result").replace('"bucket":"photomend"', f'"bucket":"{forged}"')
        redis.hset(record, "result", result.replace("results/ann/", "results/bob/"))
        problem(world.call(ANN, "GET", f"/v1/jobs/{world.done}/result"), 500, "internal")
    redis.hset(record, "spec", redis.hget(record, "spec").replace("photos-of-ann", "photos-of-bob"))
    problem(world.call(ANN, "GET", f"/v1/jobs/{world.done}/result?part=input"), 500, "spec_forged")
