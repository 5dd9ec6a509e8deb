"""Batches and their review on the page, in a real Chromium; the test is the worker, so states stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from jobs.backlog import Slots
from jobs.batches.model import Batch, BatchId, BatchState
from jobs.model import Decision, Failure, Job, ObjectRef, Priority, TenantId
from jobs.settings import JobsSettings
from tests import browser
from tests.acceptance.test_page_states import encoded, face, signed_in
from tests.browser import assert_accessible, opened, shot, until
from tests.keyed import LEASE_S, KeyedApi, keyed_api
from worker.batch_items import Place
from worker.batches import BatchRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TENANT = TenantId("archive")
SCANS, MENDED = "archive-scans", "archive-mended"
MODELS = ({"name": "gfpgan-1.4", "sha256": "0" * 64, "kind": "restorer"},)
FLAG = {"code": "identity", "reason": "its similarity to the original is 0.31, below 0.5"}
BROKEN = Failure(code="image_truncated", title="The image is truncated.", detail="Send it again: `photomend submit`.")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


class Archive:
    """A tenant's delivery, and everybody who works on it, step by step."""

    def __init__(self, api: KeyedApi) -> None:
        self.api = api
        self.key = api.key(TENANT, inputs=(SCANS,), outputs=(MENDED,))
        for bucket in (SCANS, MENDED, api.settings.bucket):
            api.blobs.ensure_bucket(bucket)
        place = Place(
            blobs=api.blobs, may_read=api.store.tenants.require_readable, bucket=api.settings.bucket, max_bytes=10**8
        )
        self.runner = BatchRunner(api.store, api.blobs, place, name="keeper", window=9, threads=4)
        api.store.publish_slots(
            Slots(worker="w", queues=(), free=1, total=1, models=MODELS, engine="torch", heartbeat_s=LEASE_S)
        )
        self.before, self.after = pictures()

    def scan(self, name: str) -> None:
        self.api.blobs.put(ObjectRef(bucket=SCANS, key=f"1923/{name}"), self.before, content_type="image/jpeg")

    def work(self, *, most: int = 9) -> None:
        """Do up to so many jobs: sources whose name says so fail, or come out odd."""
        for job_id in self.api.store.take(credits=most, priority=Priority.BATCH):
            job = self.api.claim(job_id)
            assert isinstance(job.input, ObjectRef)
            if "bad" in job.input.key:
                self.api.fail(job, BROKEN)
            else:
                self.finish(job, is_odd="odd" in job.input.key)

    def finish(self, job: Job, *, is_odd: bool) -> None:
        flags = [FLAG] if is_odd else []
        side = self.after[1]
        parts = {
            "image": (self.after[0], "image/jpeg"),
            "provenance": (
                f'{{"faces": [{FACE.replace("FLAGS", json.dumps(flags))}], "options": {{"scale": 2, "strength": 1}}, '
                f'"output": {{"width": {side}, "height": {side}}}}}'.encode(),
                "application/json",
            ),
        }
        self.api.finish(job, parts, size=(side, side), faces=(face(1, [86, 25, 141, 100], review=flags),))

    def until(self, batch: str, *states: BatchState) -> Batch:
        for _ in range(100):
            self.runner.step()
            found = self.api.store.batches.get(BatchId(batch))
            if found.state in states:
                return found
            self.work()
        raise AssertionError(found)


FACE = (
    '{"id": "g5k2q", "index": 0, "box": [86, 25, 141, 100], "score": 0.99, "size_px": 55, "status": "restored", '
    '"reason": null, "identity": 0.31, "review": FLAGS}'
)


def pictures() -> tuple[bytes, tuple[bytes, int]]:
    """A scan, and what a worker would make of it with the length of its sides."""
    from skimage import data

    sharp = cv2.resize(data.astronaut()[:, :, ::-1], (512, 512))
    old = cv2.cvtColor(cv2.GaussianBlur(cv2.resize(sharp, (256, 256)), (0, 0), 1.5), cv2.COLOR_BGR2GRAY)
    return encoded(old, ".jpg"), (encoded(np.ascontiguousarray(sharp), ".jpg"), 512)


@pytest.fixture
def archive(jobs_settings: JobsSettings) -> Iterator[Archive]:
    with keyed_api(jobs_settings) as running:
        made = Archive(running)
        for name in ("001.jpg", "002-odd.jpg", "003-bad.jpg", "004-odd.jpg", "005.jpg", "006-odd.jpg"):
            made.scan(name)
        yield made
        made.runner.close()


def start_from_the_page(archive: Archive, page: Any) -> str:
    page.get_by_role("link", name="Batches").click()
    page.locator("#no-batches:not([hidden])").wait_for()
    assert_accessible(page, "batches-none")
    page.get_by_text("Start a batch").click()
    page.fill("#batch-source", f"s3://{SCANS}/1923/")
    page.fill("#batch-output", f"s3://{SCANS}/1923/out/")
    page.get_by_role("button", name="Start").click()
    page.locator("#notices .notice", has_text="masters are kept apart").wait_for()
    page.fill("#batch-output", f"s3://{MENDED}/1923/")
    assert_accessible(page, "batches-start")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(lambda url: "#batch/" in url)
    page.locator("#batch:not([hidden])").wait_for()
    batch: str = page.url.rpartition("/")[2]
    return batch


def watch_pause_and_go_on(archive: Archive, page: Any, batch: str) -> None:
    archive.until(batch, BatchState.RUNNING)
    archive.runner.step()
    archive.work(most=2)
    archive.runner.step()
    until(page, "document.querySelector('.legend')?.textContent.includes('restored2')")
    assert "2 of 6" in page.locator(".facts").inner_text()
    assert_accessible(page, "batch-running")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Pause").wait_for()
    archive.until(batch, BatchState.SUCCEEDED)
    until(page, "document.querySelector('#batch-status').textContent === 'done'")
    page.locator("tbody td", has_text="003-bad.jpg").wait_for()
    assert page.locator("tbody code", has_text="photomend submit").is_visible(), "no backticks, but code"
    assert page.get_by_role("button", name="Try 1 again").is_visible()
    with page.expect_download() as coming:
        page.locator('[data-file="csv"]').click()
    assert coming.value.suggested_filename == f"{batch}-report.csv"
    assert_accessible(page, "batch-done")
    shot(page, "batch-done-whole", full=True)


def look_and_decide(archive: Archive, page: Any, batch: str) -> None:
    page.locator("#open-review").click()
    page.locator("#queue:not([hidden]) .divider").wait_for()
    assert "002-odd.jpg" in page.locator("#queue-panel h2").first.inner_text()
    assert "0.31" in page.locator("#queue-flags").inner_text()
    page.locator("#faces button").first.click()
    assert page.locator("#queue-stage .box").is_visible()
    assert_accessible(page, "review-queue")
    shot(page, "review-queue-whole", full=True)
    page.fill("#queue-by", "Mia")
    page.locator("#queue-stage").focus()
    page.keyboard.press("n")
    page.locator("#queue-panel h2", has_text="004-odd.jpg").wait_for()
    page.keyboard.press("p")
    page.locator("#queue-panel h2", has_text="002-odd.jpg").wait_for()
    page.locator("#queue-stage .divider").wait_for()
    page.locator("#queue-stage").focus()
    page.keyboard.press("a")
    page.locator("#queue-panel h2", has_text="004-odd.jpg").wait_for()
    page.fill("#queue-note", "not him")
    page.locator("#queue-reject").click()
    page.locator("#queue-panel h2", has_text="006-odd.jpg").wait_for()
    decided = list(
        archive.api.store.batches.reviews.log(
            archive.api.store.batches.get(BatchId(batch)), archive.api.blobs, archive.api.settings.bucket
        )
    )
    assert [(said.item, said.review.decision, said.review.by, said.review.note) for said in decided] == [
        (1, Decision.ACCEPTED, "Mia", ""),
        (3, Decision.REJECTED, "Mia", "not him"),
    ]


def make_otherwise(archive: Archive, page: Any) -> None:
    page.locator("#queue-strength").fill("0.4")
    page.locator("#queue-redo").click()
    page.get_by_role("link", name="See the new version").click()
    page.wait_for_url(lambda url: "#batch/" in url)
    made = archive.until(page.url.rpartition("/")[2], BatchState.SUCCEEDED)
    assert made.counts.succeeded == 1
    there = {one.ref.key for one in archive.api.blobs.list(MENDED, prefix="1923/006")}
    # Listings may lag, so the new one is asked for by name.
    assert archive.api.blobs.head(ObjectRef(bucket=MENDED, key="1923/006-odd-v2.jpg")).size > 0
    assert there
    page.get_by_role("link", name="The batch before").click()
    until(page, "document.querySelector('#batch-review')?.textContent.includes('2 rejected')")


def test_a_batch_is_started_watched_reviewed_and_made_otherwise(archive, chromium):
    with opened(chromium, archive.api.url) as (page, seen):
        signed_in(page, archive.key)
        batch = start_from_the_page(archive, page)
        watch_pause_and_go_on(archive, page, batch)
        look_and_decide(archive, page, batch)
        make_otherwise(archive, page)
        assert [words for words in seen.wrong if words.startswith("CSP")] == []
    with opened(chromium, f"{archive.api.url}/#batches", viewport={"width": 360, "height": 760}, has_touch=True) as (
        page,
        _,
    ):
        page.fill("#key", archive.key)
        page.keyboard.press("Enter")
        page.locator(".delivery").nth(1).wait_for()
        for name, view in (("phone-batches", "#batches"), ("phone-batch", f"#batch/{batch}")):
            page.goto(f"{archive.api.url}/{view}")
            page.locator(f"{view.partition('/')[0]}:not([hidden])").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert_accessible(page, name)
            shot(page, f"{name}-whole", full=True)
        page.goto(f"{archive.api.url}/#review/{batch}")
        page.locator("#queue-all").click()
        page.locator("#queue-stage:not([hidden]) .divider").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert_accessible(page, "phone-review")
        shot(page, "phone-review-whole", full=True)
