"""A bag of a service's delivery: fetched, verified, packed; and never of what is not the report's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.batches.model import Batch, BatchState
from jobs.batches.store import report_ref
from jobs.delivery.errors import NotDelivered
from jobs.model import ObjectRef
from jobs.store import JobStore
from photomend.cli import app
from photomend.delivery.fetch import Fetch, place_of
from tests.doubles import MemoryBlobs
from tests.integration.jobs.batch_world import World


@pytest.fixture
def world(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> World:
    blobs = MemoryBlobs()
    monkeypatch.setattr("jobs.blobs.BlobStore.connect", lambda _settings: blobs)
    return World(store, blobs)


def ended(world: World, **words: str) -> Batch:
    for key in ("in/a.tif", "in/sub/b.tif", "in/bad.tif"):
        world.scan(key)
    lines = ["scans,in/a.tif", "scans,in/bad.tif", "scans,in/sub/b.tif", "scans,in/a.tif"]
    return world.until(world.submit(world.manifest(lines), **words), BatchState.SUCCEEDED)


def bag(batch: Batch, place: Path, *words: str) -> Result:
    folder = report_ref(batch, "x").uri.removesuffix("x")
    return CliRunner().invoke(app, ["deliver", "bag", folder, str(place), *words])


def test_a_batch_is_fetched_verified_and_packed(world: World, tmp_path: Path) -> None:
    import bagit

    batch, place = ended(world), tmp_path / "bag"
    made = bag(batch, place, "--organization", "City Archive")
    assert made.exit_code == 0, made.output
    found = bagit.Bag(str(place))
    found.validate()
    assert found.info["Source-Organization"] == "City Archive"
    outputs = {file["key"]: file["sha256"] for row in world.report(batch.id) for file in row["outputs"]}
    packed = {
        name.removeprefix("data/"): sums["sha256"]
        for name, sums in found.payload_entries().items()
        if "photomend-report" not in name
    }
    assert packed == outputs
    assert {name for name in found.payload_entries() if "photomend-report" in name} == {
        f"data/photomend-report/{name}" for name in ("report.csv", "report.jsonl", "report.html", "premis.xml")
    }
    assert "3 succeeded" in " ".join(made.output.split()) or "2 succeeded" in made.output
    assert [path.name for path in tmp_path.iterdir()] == ["bag"], "what was fetched for it is gone"


def test_what_was_fetched_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    batch = ended(world)
    fetch = Fetch(
        blobs=world.blobs, place=place_of(report_ref(batch, "manifest.json").uri), out=tmp_path / "out",
        sources=tmp_path / "sources",
    )  # fmt: skip
    first = fetch()
    assert (first.rows, first.files, first.new) == (4, 6, 6)
    assert (tmp_path / "sources" / "scans" / "in" / "a.tif").read_bytes() == b"in/a.tif"
    (tmp_path / "out" / "delivery" / "in" / "a.tif").write_bytes(b"half")
    (tmp_path / "out" / "delivery" / "in" / "sub" / "b.tif").unlink()
    assert fetch().new == 2
    assert fetch().new == 0


def test_what_is_not_the_reports_is_no_delivery_and_a_stopped_command_goes_on(world: World, tmp_path: Path) -> None:
    batch, place = ended(world), tmp_path / "bag"
    image = ObjectRef(bucket="mended", key="delivery/in/sub/b.tif")
    whole = world.blobs.get(image, max_bytes=10**6)
    world.blobs.put(image, b"something else", content_type="image/tiff")
    refused = bag(batch, place)
    assert (refused.exit_code, place.exists()) == (1, False)
    assert "delivery_incomplete" in refused.output
    assert "delivery/in/sub/b.tif" in refused.output
    world.blobs.delete([image])
    assert "is not there" in " ".join(bag(batch, place).output.split())
    world.blobs.put(image, whole, content_type="image/tiff")
    assert bag(batch, place).exit_code == 0


def test_a_report_of_failures_alone_or_of_nothing_makes_no_bag(world: World, tmp_path: Path) -> None:
    batch = ended(world, report="failed")
    assert "--report all" in " ".join(bag(batch, tmp_path / "bag").output.split())
    nothing = CliRunner().invoke(app, ["deliver", "bag", "s3://mended/nothing/", str(tmp_path / "bag")])
    assert (nothing.exit_code, "delivery_incomplete" in nothing.output) == (1, True)
    strange = CliRunner().invoke(app, ["deliver", "bag", "s3://", str(tmp_path / "bag")])
    assert strange.exit_code == 1
    assert strange.exception is None or isinstance(strange.exception, SystemExit)


@pytest.mark.parametrize("key", ["../outside.tif", "/etc/outside.tif", "a/../../outside.tif"])
def test_a_report_that_names_files_elsewhere_writes_nothing_there(world: World, tmp_path: Path, key: str) -> None:
    import hashlib

    batch = ended(world)
    lines = world.report(batch.id)
    lines[0]["outputs"][0]["key"] = key
    forged = "".join(json.dumps(row) + "\n" for row in lines).encode()
    told = json.loads(world.blobs.get(report_ref(batch, "manifest.json"), max_bytes=10**6))
    for one in told["results"]:
        if one["key"].endswith("report.jsonl"):
            one["sha256"] = hashlib.sha256(forged).hexdigest()
    world.blobs.put(report_ref(batch, "report.jsonl"), forged, content_type="x/y")
    world.blobs.put(report_ref(batch, "manifest.json"), json.dumps(told).encode(), content_type="x/y")
    with pytest.raises(NotDelivered, match="outside"):
        Fetch(blobs=world.blobs, place=place_of(report_ref(batch, "x.y").uri), out=tmp_path / "deep" / "out")()
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://m/a/_photomend/b-1/", "a/_photomend/b-1/"),
        ("s3://m/a/_photomend/b-1", "a/_photomend/b-1/"),
        ("s3://m/a/_photomend/b-1/report.html", "a/_photomend/b-1/"),
    ],
)
def test_a_reports_folder_is_found_by_it_or_by_any_file_in_it(uri: str, key: str) -> None:
    assert place_of(uri.replace("s3://m/", "s3://mended/")) == ObjectRef(bucket="mended", key=key)
