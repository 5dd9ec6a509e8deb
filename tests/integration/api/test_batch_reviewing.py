"""Review of a batch over HTTP: the queue, decisions and where they are told, and results made once more."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from jobs.batches import reviews
from jobs.batches.model import BatchId, BatchState
from jobs.batches.report import MANIFEST
from jobs.batches.review_sheet import read
from jobs.batches.reviews import CHUNK, Which, chunk_ref
from jobs.batches.store import report_ref
from jobs.connection import PREFIX
from jobs.errors import StorageUnavailable
from jobs.model import LOCAL_TENANT, Decision, ObjectRef
from jobs.settings import JobsSettings
from tests.doubles import MemoryBlobs
from tests.integration.api.conftest import Service, make_settings, problem
from tests.integration.jobs.batch_world import World
from worker.batch_decisions import DecisionReporter


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


@pytest.fixture
def delivery(service: Any, world: Any) -> BatchId:
    """Five pictures: the second and fourth come out odd, the last is broken."""
    for key in ("in/1.tif", "in/2-odd.tif", "in/3.tif", "in/4-odd.tif", "in/5-bad.tif"):
        world.scan(key)
    said = service.call("POST", "/v1/batches", json={"prefix": {"uri": "s3://scans/in/"}, "output": "s3://mended/d/"})
    batch = BatchId(said.json()["id"])
    world.until(batch, BatchState.SUCCEEDED)
    return batch


def queue(service: Any, batch: BatchId, query: str = "") -> tuple[list[int], dict[str, int]]:
    told = service.call("GET", f"/v1/batches/{batch}/review{query}").json()
    return [item["number"] for item in told["items"]], told["counts"]


def decide(service: Any, batch: BatchId, number: int, decision: str, **words: str) -> dict[str, Any]:
    answer = service.call("POST", f"/v1/batches/{batch}/items/{number}/review", json={"decision": decision} | words)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_flagged_items_are_a_queue_that_decisions_empty(service, world, delivery):
    assert queue(service, delivery) == ([2, 4], {"flagged": 2, "pending": 2, "accepted": 0, "rejected": 0})
    said = decide(service, delivery, 2, "rejected", by="Mia", note="not her")
    assert [(d["decision"], d["by"], d["note"]) for d in said["decisions"]] == [("rejected", "Mia", "not her")]
    assert decide(service, delivery, 2, "rejected", by="Mia", note="not her") == said, "said twice is said once"
    decide(service, delivery, 1, "accepted", by="Jo")
    assert queue(service, delivery) == ([4], {"flagged": 2, "pending": 1, "accepted": 1, "rejected": 1})
    decide(service, delivery, 2, "accepted", by="Mia")
    assert queue(service, delivery, "?decision=accepted")[0] == [1, 2]
    assert queue(service, delivery, "?decision=rejected") == (
        [], {"flagged": 2, "pending": 1, "accepted": 2, "rejected": 0},
    )  # fmt: skip
    assert queue(service, delivery, "?decision=all&limit=2")[0] == [1, 2]
    assert queue(service, delivery, "?decision=all&cursor=2")[0] == [4]
    item = service.call("GET", f"/v1/batches/{delivery}/items/2").json()
    assert [d["decision"] for d in item["decisions"]] == ["rejected", "accepted"]
    assert item["review"][0]["code"] == "identity"
    assert service.call("GET", f"/v1/batches/{delivery}").json()["review"]["pending"] == 1


def test_only_results_are_decided_about_and_only_what_is_theirs_is_handed_out(service, world, delivery):
    path = f"/v1/batches/{delivery}/items"
    problem(service.call("POST", f"{path}/5/review", json={"decision": "accepted"}), 409, "illegal_state")
    problem(service.call("POST", f"{path}/6/review", json={"decision": "accepted"}), 404, "item_not_found")
    problem(service.call("POST", f"{path}/1/review", json={"decision": "maybe"}), 422, "invalid_request")
    told = {"Accept": "application/json"}
    image = service.call("GET", f"{path}/2/result", headers=told).json()
    assert image["url"].startswith("memory://mended/d/2-odd.tif")
    source = service.call("GET", f"{path}/2/result?part=input", headers=told).json()
    assert (source["url"].partition("?")[0], source["content_type"]) == ("memory://scans/in/2-odd.tif", "image/tiff")
    assert service.call("GET", f"{path}/2/result").status_code == 303
    problem(service.call("GET", f"{path}/2/result?part=mask"), 404, "part_not_found")


def test_decisions_after_the_end_come_into_report_page_and_manifest(service, world, blobs, delivery, monkeypatch):
    monkeypatch.setattr(reviews, "QUIET_S", 0.0)
    decide(service, delivery, 4, "rejected", by="Mia", note="=HYPERLINK(1)")
    assert [row["decisions"] for row in world.report(delivery)] == [[]] * 5
    reporter = DecisionReporter(service.store, blobs, bucket="photomend")
    reporter.step()
    rows = world.report(delivery)
    (said,) = rows[3]["decisions"]
    assert (said["decision"], said["by"]) == ("rejected", "Mia")
    page = blobs.get(report_ref(world.get(delivery), "report.html"), max_bytes=10**7).decode()
    assert "rejected by Mia" in page
    when = blobs.head(report_ref(world.get(delivery), MANIFEST))
    reporter.step()
    assert blobs.head(report_ref(world.get(delivery), MANIFEST)) is when, "nothing new, nothing made"


def test_the_sheet_goes_out_and_comes_back(service, world, delivery):
    decide(service, delivery, 2, "accepted", by="@Mia", note="-fine")
    answer = service.call("GET", f"/v1/batches/{delivery}/review.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline="")))
    assert [(line["number"], line["decision"], line["by"]) for line in lines] == [
        ("2", "accepted", "'@Mia"),
        ("4", "", ""),
    ]
    assert "identity" in lines[1]["flags"]
    assert [(said.number, said.by, said.note) for said in read(io.StringIO(answer.text, newline=""))] == [
        (2, "@Mia", "-fine")
    ]
    assert "4-odd" not in service.call("GET", f"/v1/batches/{delivery}/review.csv?decision=accepted").text


def test_redo_makes_a_version_beside_the_result_that_stays(service, world, blobs, delivery):
    before = blobs.get(ObjectRef(bucket="mended", key="d/2-odd.tif"), max_bytes=10**6)
    words = {"items": [{"number": 2, "options": {"strength": 0.5}}], "by": "Mia"}
    key = {"Idempotency-Key": "again"}
    answer = service.call("POST", f"/v1/batches/{delivery}/redo", json=words, headers=key)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert made["redo_of"] == delivery
    repeated = service.call("POST", f"/v1/batches/{delivery}/redo", json=words, headers=key)
    assert (repeated.json()["id"], repeated.headers["idempotent-replayed"]) == (made["id"], "true")
    world.until(BatchId(made["id"]), BatchState.SUCCEEDED)
    (row,) = world.report(BatchId(made["id"]))
    assert (row["source"], row["status"], row["outputs"][0]["key"]) == (
        "s3://scans/in/2-odd.tif", "succeeded", "d/2-odd-v2.tif",
    )  # fmt: skip
    assert blobs.get(ObjectRef(bucket="mended", key="d/2-odd.tif"), max_bytes=10**6) == before
    (said,) = service.call("GET", f"/v1/batches/{delivery}/items/2").json()["decisions"]
    assert (said["decision"], said["by"], made["id"] in said["note"]) == ("rejected", "Mia", True)

    again = service.call(
        "POST", f"/v1/batches/{made['id']}/redo", json={"items": [{"number": 1, "options": {"strength": 0.2}}]}
    )
    world.until(BatchId(again.json()["id"]), BatchState.SUCCEEDED)
    assert world.report(BatchId(again.json()["id"]))[0]["outputs"][0]["key"] == "d/2-odd-v4.tif", (
        "each call has a number"
    )
    wrong = service.call(
        "POST", f"/v1/batches/{delivery}/redo", json={"items": [{"number": 2, "options": {"strength": 7}}]}
    )
    problem(wrong, 422, "invalid_option")
    failed = service.call("POST", f"/v1/batches/{delivery}/redo", json={"items": [{"number": 5}]})
    problem(failed, 409, "illegal_state")


class _Away:
    def put(self, *_: Any, **__: Any) -> Any:
        raise StorageUnavailable("away")

    def get(self, *_: Any, **__: Any) -> Any:
        raise StorageUnavailable("away")


def test_thousands_of_decisions_cost_redis_a_thousand(service, world, blobs, delivery):
    batch, own = world.get(delivery), service.store.batches.reviews

    def said(count: int, storage: Any) -> None:
        for number in range(count):
            own.decide(
                batch, number % 4, Decision.ACCEPTED, tenant=LOCAL_TENANT, note=str(number), blobs=storage,
                bucket="photomend",
            )  # fmt: skip

    said(CHUNK + 10, _Away())
    said(5, blobs)
    client = service.store._redis
    assert client.llen(f"{PREFIX}batch:{delivery}:decisions") == 15
    assert blobs.head(chunk_ref("photomend", batch, 0)).size > 0
    log = list(own.log(batch, blobs, "photomend"))
    assert [one.review.note for one in log] == [str(n) for n in [*range(CHUNK + 10), *range(5)]]
    assert list(own.items(delivery, Which.ACCEPTED)) == [0, 1, 2, 3]
    # A keeper that died between storing a chunk and saying so: the next one stores the same, nothing twice.
    own._store(batch, blobs, "photomend")
    assert len(list(own.log(batch, blobs, "photomend"))) == CHUNK + 15


def test_the_queue_of_a_million_is_found_in_bits(service, world, delivery):
    client, key = service.store._redis, f"{PREFIX}batch:{delivery}:flagged"
    wanted = [7, 32_767, 32_768, 500_001, 999_999]
    client.delete(key)
    for item in wanted:
        client.setbit(key, item, 1)
    assert client.memory_usage(key) < 200_000
    own = service.store.batches.reviews
    assert list(own.items(delivery, Which.PENDING)) == wanted
    assert list(own.items(delivery, Which.PENDING, start=32_768)) == wanted[2:]


def test_premis_tells_who_decided():
    from jobs.delivery.premis import NAMESPACE, Origin, document
    from jobs.delivery.rows import DecisionNote, OutputFile, Row, Status

    note = DecisionNote(decision="rejected", at="2026-01-02T03:04:05.000Z", by="Mia <x>", note="not her")
    image = OutputFile(part="image", key="a.tif", sha256="0" * 64, bytes=3)
    row = Row(number=1, source="a.tif", status=Status.SUCCEEDED, outputs=(image,), decisions=(note,))
    root = ElementTree.fromstring(
        "".join(document(lambda: [row], Origin(program="photomend", version="1", made_at=note.at)))
    )
    kinds = {event.findtext(f"{{{NAMESPACE}}}eventType"): event for event in root.iter(f"{{{NAMESPACE}}}event")}
    told = "".join(kinds["quality review"].itertext())
    assert all(words in told for words in ("rejected by Mia <x>", "not her", note.at, "result/a.tif"))
