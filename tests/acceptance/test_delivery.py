"""From the scan folder to the delivered bag by the README's commands, with a kill between; the report in Chromium."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.delivery.written import read_csv
from tests import browser
from tests.browser import SCREENS, opened
from tests.readme import README

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PICTURES = 5
NAMES = [f"1969/{number}.jpg" for number in range(1, PICTURES + 1)]


def scan(seed: int) -> bytes:
    """A person, each time another grain."""
    data = pytest.importorskip("skimage.data", reason="the extra `local` has the picture")
    small = Image.fromarray(data.astronaut()).crop((64, 0, 384, 320)).resize((200, 200), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).normal(0, 6, (200, 200, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with scans, some of them bad."""
    folder = tmp_path_factory.mktemp("delivery")
    (folder / "scans" / "1969").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / "scans" / name).write_bytes(scan(number))
    (folder / "scans" / "=cut.jpg").write_bytes(scan(0)[:3000])
    (folder / "scans" / "<b>none.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


def environment(work: Path) -> dict[str, str]:
    """With the command on the path, no weights installed, and one way to compute."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PHOTOMEND_", "XDG_", "MALLOC_"))}
    program = work / "bin" / "photomend"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m photomend "$@"\n')
    program.chmod(0o755)
    # The tree that is tested, wherever the command runs.
    clean["PYTHONPATH"] = str(README.parent)
    return clean | {
        "XDG_DATA_HOME": str(work),
        "PATH": f"{program.parent}:{clean['PATH']}",
        "PHOTOMEND_ENGINE": "torch",
    }


def commands() -> list[str]:
    block = re.search(r"<!-- delivery -->\n```sh\n(.*?)```\n<!-- /delivery -->", README.read_text(), re.DOTALL)
    assert block
    return block[1].splitlines()


def run(command: str, work: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=work,
        env=environment(work),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def killed_when(rows: int, command: str, work: Path) -> None:
    """SIGKILL to the command when so many rows are on disk; fails unless it struck in the middle."""
    journal = work / "mended" / ".photomend" / "rows.jsonl"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=work, env=environment(work), stderr=subprocess.DEVNULL
    )
    give_up_at = time.monotonic() + 150
    while not journal.exists() or journal.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not (work / "mended" / "photomend-report").exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def delivered(work: Path) -> Path:
    """The README's commands, the restoration killed once; the folder of it all."""
    [listing, restore, check, bag] = commands()
    masters = tree(work / "scans")
    assert run(listing, work).returncode == 0
    killed_when(3, restore, work)
    done_before = tree(work / "mended")
    again = run(restore, work)
    assert again.returncode == 1, again.stderr
    assert "5 of 7 pictures have a result" in again.stderr
    assert "done already" in again.stderr
    assert "Traceback" not in again.stderr
    assert tree(work / "scans") == masters
    kept = {name: data for name, data in done_before.items() if not name.startswith(".") and ".part" not in name}
    assert {name: data for name, data in tree(work / "mended").items() if name in kept} == kept
    for command in (check, bag):
        done = run(command, work)
        assert done.returncode == 0, done.stderr
    return work


def test_the_report_has_each_line_of_the_manifest_once_and_the_bag_is_valid(delivered):
    import bagit

    folder = delivered / "mended" / "photomend-report"
    listed = [line.split("  ./", 1) for line in (delivered / "scans.sha256").read_text().splitlines()]
    with (folder / "report.csv").open(encoding="utf-8", newline="") as table:
        rows = list(read_csv(table))
    assert [(row.number, row.source_sha256, row.source) for row in rows] == [
        (number, sha256, name) for number, (sha256, name) in enumerate(listed, start=1)
    ]
    assert {row.source: row.status for row in rows} == dict.fromkeys(NAMES, "succeeded") | {
        "=cut.jpg": "failed",
        "<b>none.png": "failed",
    }
    assert [json.loads(line)["source"] for line in (folder / "report.jsonl").read_text().splitlines()] == [
        row.source for row in rows
    ]
    bag = bagit.Bag(str(delivered / "bag-2026-117"))
    bag.validate()
    assert (bag.info["Source-Organization"], bag.info["External-Identifier"]) == ("City Archive", "2026-117")
    made = {f"data/{output.key}" for row in rows for output in row.outputs}
    assert len(made) == 2 * PICTURES
    assert made <= set(bag.payload_entries())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_s_page_is_complete_in_a_browser_and_asks_for_nothing(delivered, chromium: Any, scheme):
    path = delivered / "mended" / "photomend-report" / "report.html"
    with opened(chromium, path.as_uri(), color_scheme=scheme) as (page, seen):
        assert [url for url in seen.urls if not url.startswith(("file:", "data:"))] == []
        assert seen.wrong == []
        assert "5 of 7 pictures have a result; 2 failed." in page.inner_text("body")
        assert page.locator(".list tbody tr").count() == 2
        assert set(page.locator(".list td:nth-child(2)").all_inner_texts()) == {"=cut.jpg", "<b>none.png"}
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert len(widths) == 2 * PICTURES
        assert all(width == 200 for width in widths)
        assert page.locator("svg").count() >= 4
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
        SCREENS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SCREENS / f"report-{scheme}.png"), full_page=True)


def test_on_a_phone_and_on_paper_the_report_fits(delivered, chromium: Any):
    path = delivered / "mended" / "photomend-report" / "report.html"
    with opened(chromium, path.as_uri(), viewport={"width": 390, "height": 800}) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.assert_accessible(page)
        assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("restore scans -o scans/out --report", "must lie apart"),
        ("restore scans -o scans --report", "must lie apart"),
        ("restore scans -o out --report --outputs image", "provenance"),
        ("restore scans/1969/1.jpg -o out --report", "of a folder"),
        ("restore scans -o out --manifest scans/=cut.jpg", "manifest"),
        ("restore scans -o out --manifest none.csv", "none.csv"),
        ("deliver bag scans bag", "There is no report in scans"),
        ("deliver bag mended bag --c2pa-key x", "--sources"),
    ],
)
def test_what_makes_no_delivery_is_refused_in_a_sentence_before_any_work(delivered, words, sentence):
    from typer.testing import CliRunner

    from photomend.cli import app

    before = Path.cwd()
    os.chdir(delivered)
    try:
        done = CliRunner().invoke(app, words.split(), env={"COLUMNS": "200"})
    finally:
        os.chdir(before)
    assert done.exit_code in {1, 2}
    assert sentence in done.output
    assert not (delivered / "out").exists()
