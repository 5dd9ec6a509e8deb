"""A batch through the real keeper and a real worker process on real Redis and S3; only the networks are replaced."""

from __future__ import annotations

import json

import pytest

from jobs.batches.manifest import Manifest, ManifestFormat
from jobs.batches.model import ENDED, BatchSpec, BatchState, new_batch_id
from jobs.batches.store import report_ref
from jobs.model import LOCAL_TENANT, ObjectRef
from tests.fleet import Fleet, png, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_delivery_goes_from_the_bucket_to_its_report_and_its_masters_stay(working_fleet: Fleet) -> None:
    fleet = working_fleet
    scans, mended = f"{fleet.settings.bucket}-scans", f"{fleet.settings.bucket}-mended"
    for bucket in (scans, mended):
        fleet.blobs.ensure_bucket(bucket)
    pictures = {"box 1/a.png": png(), "box 1/b.png": png(30, 20), "broken.png": png()[:60], "text.png": b"no picture"}
    before = {
        key: fleet.blobs.put(ObjectRef(bucket=scans, key=key), data, content_type="image/png").etag
        for key, data in pictures.items()
    }
    lines = [*pictures, "missing.png"]
    text = "".join(f"{scans},{key.replace(' ', '%20')}\n" for key in lines)
    ref = ObjectRef(bucket=scans, key="lists/delivery.csv")
    etag = fleet.blobs.put(ref, text.encode(), content_type="text/csv").etag
    spec = BatchSpec(
        source=Manifest(ref=ref, etag=etag, format=ManifestFormat.CSV), output=ObjectRef(bucket=mended, key="delivery/")
    )
    batch, _ = fleet.store.batches.create(new_batch_id(), LOCAL_TENANT, spec)
    wait_for(lambda: fleet.store.batches.get(batch.id).state in ENDED, what="the batch ends", within_s=120)
    ended = fleet.store.batches.get(batch.id)
    assert (ended.state, ended.counts.succeeded, ended.counts.failed) == (BatchState.SUCCEEDED, 2, 3), ended.failure
    data = fleet.blobs.get(report_ref(ended, "report.jsonl"), max_bytes=10**7)
    rows = [json.loads(line) for line in data.decode().splitlines()]
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "failed", "failed", "failed"]
    assert rows[4]["error_code"] == "input_not_found"
    for row in rows[:2]:
        for file in row["outputs"]:
            made = fleet.blobs.get(ObjectRef(bucket=mended, key=file["key"]), max_bytes=10**7)
            assert len(made) == file["bytes"]
            assert fleet.blobs.head(ObjectRef(bucket=mended, key=file["key"])).metadata["sha256"] == file["sha256"]
        assert len(row["source_sha256"]) == 64
    page = fleet.blobs.get(report_ref(ended, "report.html"), max_bytes=10**7).decode()
    assert page.count("data:image/jpeg;base64,") == 4, "before and after of both, made by the worker in its sandbox"
    assert {key: fleet.blobs.head(ObjectRef(bucket=scans, key=key)).etag for key in pictures} == before
