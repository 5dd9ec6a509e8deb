"""What a batch's report has beside its rows: PREMIS in one pass, a contact sheet of a bounded sample, what it cost."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from lxml import etree

from jobs.batches import sheet
from jobs.batches.model import BatchState
from jobs.batches.store import report_ref
from jobs.delivery.html import MOST_SAMPLES
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.doubles import MemoryBlobs
from tests.integration.jobs.batch_world import SMALL, World

SCHEMA = Path(__file__).parents[2] / "unit" / "jobs" / "premis-3.0-subset.xsd"
NAMES = {"p": "http://www.loc.gov/premis/v3"}


@pytest.fixture
def world(redis_settings: JobsSettings, store: JobStore) -> World:
    del store  # it has made sure that Redis is empty
    return World(JobStore.connect(redis_settings.model_copy(update={"gpu_hour_price": 1800.0})), MemoryBlobs())


@pytest.mark.parametrize("total", [1, 2, 47, 48, 49, 50, 96, 97, 1000, 12_345])
def test_the_items_drawn_for_the_sheet_are_bounded_evenly_spread_and_known_from_the_start(total: int) -> None:
    items = list(sheet.drawn(total))
    assert items == [item for item in range(total) if sheet.is_drawn(item, total)]
    assert len(items) == min(total, sheet.DRAWN)
    steps = {after - before for before, after in itertools.pairwise(items)}
    assert not steps or max(steps) - min(steps) <= 1


def test_the_page_shows_a_bounded_sample_and_nothing_of_it_lies_among_the_results(world: World) -> None:
    keys = [f"in/{n:03}.tif" for n in range(120)]
    for key in keys:
        world.scan(key)
    batch = world.submit(world.manifest([f"scans,{key}" for key in keys]))
    done = world.until(batch, BatchState.SUCCEEDED)
    rows = world.report(batch)
    page = world.blobs.get(report_ref(done, "report.html"), max_bytes=10**7).decode()
    before = base64.b64encode(SMALL["before"]).decode()
    assert page.count(f"data:image/jpeg;base64,{before}") == MOST_SAMPLES
    # 120 times half a second, at 1,800 an hour.
    assert "30.00 EUR for devices" in page
    assert {file["part"] for row in rows for file in row["outputs"]} == {"image", "provenance"}
    delivered = {line.ref.key for line in world.blobs.list("mended", prefix="")}
    assert not {key for key in delivered if "sheet" in key}
    copies = {line.ref.key for line in world.blobs.list("photomend", prefix=f"batches/local/{batch}/sheet/")}
    assert copies == {sheet.copy_ref("photomend", done, n, half).key for n in sheet.drawn(120) for half in sheet.HALVES}
    assert {row["completed_at"] is None for row in rows} == {False}
    # They go when the batch is forgotten; the report stays.
    world.store._redis.zadd("{photomend}:batches:old", {batch: 0})
    world.runner().step()
    assert not list(world.blobs.list("photomend", prefix="batches/"))
    assert world.blobs.head(report_ref(done, "report.html")).size == len(page.encode())


def test_premis_holds_by_its_schema_and_accounts_for_every_line(world: World) -> None:
    for key in ("a.tif", "bad.tif", "c.tif"):
        world.scan(key)
    batch = world.submit(world.manifest(["scans,a.tif", "scans,bad.tif", "nonsense", "scans,c.tif"]), report="failed")
    done = world.until(batch, BatchState.SUCCEEDED)
    premis = world.premis(done)
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(premis)
    # Whatever the report's rows are limited to, the record is of everything.
    made = premis.xpath("//p:event[p:eventType='creation']", namespaces=NAMES)
    outcomes = [one.findtext(".//p:eventOutcome", namespaces=NAMES) for one in made]
    assert outcomes == ["success", "failure", "failure", "success"]
    files = premis.xpath("//p:object/p:originalName/text()", namespaces=NAMES)
    assert {"s3://scans/a.tif", "delivery/a.tif", "delivery/c-provenance.json", "nonsense"} <= set(files)
