"""``photomend batch`` against a served API, with a runner and a worker beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from jobs.batches.model import BatchId
from jobs.settings import JobsSettings
from photomend.cli import app
from photomend.client import Batch, Client
from photomend.commands.batch import clock, dashboard
from tests import fleet
from tests.doubles import MemoryBlobs
from tests.integration.api.conftest import Service, make_settings
from tests.integration.jobs.batch_world import World


class Served:
    """The API on a socket, whose batches are worked on while ``working`` lasts."""

    def __init__(self, url: str, world: World) -> None:
        self.url, self.world = url, world

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["batch", *words, "--url", self.url])


@pytest.fixture
def served(redis_settings: JobsSettings, serve: Callable[[Service], str]) -> Iterator[Served]:
    blobs = MemoryBlobs()
    service = Service(make_settings(redis_settings), blobs=blobs)  # type: ignore[arg-type]
    world = World(service.store, blobs)
    over = threading.Event()

    def keep() -> None:
        runner = world.runner()
        while not over.wait(0.02):
            runner.step()
            world.work()
        runner.close()

    thread = threading.Thread(target=keep)
    thread.start()
    yield Served(serve(service), world)
    over.set()
    thread.join()
    service.store.close()


def test_a_delivery_by_commands(served: Served) -> None:
    for key in ("in/a.tif", "in/bad.tif"):
        served.world.scan(key)
    words = ("s3://scans/in/", "-o", "s3://mended/x/", "--scale", "3", "--label", "order=7", "--watch", "--json")
    done = served.run("submit", *words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["status"], said["items"]["failed"], said["items"]["succeeded"]) == ("succeeded", 1, 1)
    assert (said["options"]["scale"], said["metadata"]) == (3.0, {"order": "7"})
    batch = said["id"]
    assert "1 succeeded, 1 failed" in served.run("show", batch).stderr
    assert batch in served.run("list").stdout
    assert json.loads(served.run("list", "--json").stdout)[0]["id"] == batch
    assert json.loads(served.run("items", batch).stdout)["error_code"] == "image_truncated"
    assert served.run("watch", batch).stdout.strip() == batch
    assert served.run("cancel", batch).exit_code == 0
    refused = served.run("pause", batch)
    assert (refused.exit_code, "illegal_state" in refused.stderr) == (1, True)
    assert served.run("retry-failed", batch).exit_code == 0


def test_a_dry_run_says_what_it_would_come_to_and_does_nothing(served: Served) -> None:
    for number in range(3):
        served.world.scan(f"in/{number}.png", fleet.png(500, 400))
    served.world.scan("in/letter.png", b"no picture")
    done = served.run("submit", "s3://scans/in/", "-o", "s3://mended/x/", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["status"], said["dry_run"], said["estimate"]["to_do"]) == ("succeeded", True, 3)
    shown = " ".join(done.stderr.split())
    for words in ("to do 3 pictures", "image/png 3", "image_unreadable 1 of the sample", "4: s3://scans/in/letter.png"):
        assert words in shown, shown
    assert "to do 3 pictures" in " ".join(served.run("show", said["id"]).stderr.split())
    assert (served.world.runs, list(served.world.blobs.list("mended", prefix=""))) == ([], [])


def test_a_bag_is_made_of_a_batch_by_its_id(served: Served, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.blobs.BlobStore.connect", lambda _settings: served.world.blobs)
    served.world.scan("in/a.tif")
    batch = served.run("submit", "s3://scans/in/", "-o", "s3://mended/x/", "--watch").stdout.strip()
    made = CliRunner().invoke(app, ["deliver", "bag", batch, str(tmp_path / "bag"), "--url", served.url])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "bag" / "data" / "x" / "a.tif").is_file()
    other = CliRunner().invoke(app, ["deliver", "bag", "batch_" + "0" * 32, str(tmp_path / "b2"), "--url", served.url])
    assert (other.exit_code, "batch_not_found" in other.output) == (1, True)


def test_a_manifest_is_told_from_a_folder_by_its_name(served: Served) -> None:
    served.world.scan("a.tif")
    told = served.world.manifest(["scans,a.tif"])
    done = served.run("submit", told.ref.uri, "-o", "s3://mended/x/", "--watch", "--json")
    assert json.loads(done.stdout)["manifest"]["format"] == "csv"
    wrong = served.run("submit", told.ref.uri, "-o", "s3://mended/x/", "--include", "*.tif")
    assert wrong.exit_code == 2
    refused = served.run("submit", "s3://scans/in/", "-o", "s3://scans/in/out/")
    assert (refused.exit_code, "/output" in refused.stderr) == (1, True)


def test_the_report_is_downloaded_by_the_client(served: Served, tmp_path: Path, monkeypatch) -> None:
    served.world.scan("in/a.tif")
    said = json.loads(served.run("submit", "s3://scans/in/", "-o", "s3://mended/x/", "--watch", "--json").stdout)
    with Client(served.url) as client:
        place = client._api.get(f"/v1/batches/{said['id']}/report?file=jsonl", headers={"Accept": "*/*"})
        assert place.headers["location"].startswith("memory://mended/x/_photomend/")
        found = client.get_batch(said["id"])
        assert (found.is_done, found.done) == (True, 1)
        transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=b"rows"))
        client._storage = httpx.Client(transport=transport)
        saved = client.download_report(said["id"], to=tmp_path / "report.csv")
    assert saved.read_bytes() == b"rows"


@pytest.mark.parametrize("counted", [True, False])
def test_the_dashboard_shows_counts_pace_and_time_left(counted: bool) -> None:
    items = {
        "total": 12000, "is_counted": counted, "waiting": 7698, "in_flight": 256, "succeeded": 4031, "skipped": 12,
        "failed": 3, "canceled": 0,
    }  # fmt: skip
    batch = Batch(id="batch_1", status="running", items=items, items_per_s=1.44, eta_s=5523, gpu_s=2821.7)
    console = Console(width=100, record=True, force_terminal=False)
    console.print(dashboard(batch))
    text = console.export_text()
    for words in ("4,046 of 12,000", "33.7%", "1.4 items/s", "1:32:03 left", "2,822 s on devices", "4,031", "7,698"):
        assert words in text
    assert ("still counting" in text) is not counted


def test_time_left_is_told_in_hours_or_not_at_all() -> None:
    assert [clock(seconds) for seconds in (None, 0, 59.9, 3600, 100_000)] == [
        "-",
        "0:00:00",
        "0:00:59",
        "1:00:00",
        "27:46:40",
    ]


@pytest.mark.parametrize(
    "command", ["submit", "list", "show", "watch", "pause", "resume", "cancel", "retry-failed", "items", "report"]
)
def test_every_command_has_an_example(command: str) -> None:
    said = CliRunner().invoke(app, ["batch", command, "--help"], env={"COLUMNS": "200"})
    assert said.exit_code == 0
    assert f"photomend batch {command}" in said.output


def test_flagged_results_are_reviewed_by_a_sheet_and_made_once_more(served: Served, tmp_path: Path) -> None:
    for key in ("in/a.tif", "in/b-odd.tif"):
        served.world.scan(key)
    batch = served.run("submit", "s3://scans/in/", "-o", "s3://mended/x/", "--watch").stdout.strip()
    (flagged,) = served.run("review", batch).stdout.splitlines()
    assert json.loads(flagged)["number"] == 2
    sheet = tmp_path / "review.csv"
    assert served.run("review", batch, "--csv", str(sheet)).exit_code == 0
    cells = sheet.read_text(encoding="utf-8").splitlines()
    decided = cells[1].removesuffix('"","","",""') + '"Rejected ","","not hers",""'
    sheet.write_text(f"{cells[0]}\n{decided}\n", encoding="utf-8")
    assert (
        "1 decisions written down, 0 were known"
        in served.run("review", batch, "--apply", str(sheet), "--by", "Mia").stderr
    )
    assert (
        "0 decisions written down, 1 were known"
        in served.run("review", batch, "--apply", str(sheet), "--by", "Mia").stderr
    )
    assert served.run("review", batch).stdout == ""
    (said,) = json.loads(served.run("review", batch, "--decision", "rejected").stdout)["decisions"]
    assert (said["by"], said["note"]) == ("Mia", "not hers")
    sheet.write_text('"number","decision"\n"2","perhaps"\n')
    refused = served.run("review", batch, "--apply", str(sheet))
    assert (refused.exit_code, "line 2" in refused.stderr) == (1, True)
    again = served.run("redo", batch, "2", "--strength", "0.5", "--by", "Mia")
    assert again.exit_code == 0, again.output
    assert served.run("watch", again.stdout.strip()).exit_code == 0
    assert served.world.report(BatchId(again.stdout.strip()))[0]["outputs"][0]["key"] == "x/b-odd-v2.tif"
