"""The page at / in a real Chromium, over the whole service: what a person does, with the mouse and by the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from photomend.stack.local import LocalStack
from tests import browser
from tests.browser import PATIENCE_MS, drop, opened, shot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


def job_of(stack: LocalStack, page: Any) -> dict[str, Any]:
    job: dict[str, Any] = httpx.get(f"{stack.api_url}/v1/jobs/{page.url.rpartition('/')[2]}").json()
    return job


def until_ready(page: Any) -> None:
    page.wait_for_selector("#stage:not([hidden]) .divider")


def compare_by_keyboard(page: Any) -> None:
    divider = page.get_by_role("slider", name="Divider")
    divider.focus()
    assert divider.get_attribute("aria-valuenow") == "50"
    cut = "getComputedStyle(document.querySelectorAll('.layer')[1]).clipPath"
    was = page.evaluate(cut)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "60"
    assert page.evaluate(cut) != was
    zoom = page.locator("#tools output")
    fitted = zoom.inner_text()
    page.keyboard.press("+")
    assert zoom.inner_text() != fitted
    page.keyboard.press("0")
    assert zoom.inner_text() == fitted


def look_download_and_accept(stack: LocalStack, page: Any) -> None:
    page.get_by_role("button", name="What changed").click()
    assert page.locator(".mask").is_visible()
    assert page.locator(".mask img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 512
    page.get_by_role("button", name="What changed").click()
    assert not page.locator(".mask").is_visible()

    job = job_of(stack, page)
    page.locator("#faces button").first.click()
    assert page.locator("#faces button").count() == len(job["faces"]) == page.locator(".box").count() > 0
    assert job["faces"][0]["id"] in page.locator("#faces button").first.inner_text()
    box = page.locator(".box").first
    assert box.get_attribute("aria-pressed") == "true"
    shot(page, "real-face")

    with page.expect_download() as coming:
        page.locator('[data-part="image"]').click()
    picture = cv2.imdecode(np.fromfile(coming.value.path(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (512, 512, 3)
    assert coming.value.suggested_filename == job["output"]["parts"][0]["filename"]

    page.fill("#note", "it is her")
    page.locator("#accept").click()
    page.wait_for_selector("#decision")
    review = job_of(stack, page)["review"]
    assert (review["decision"], review["note"]) == ("accepted", "it is her")


def redo(stack: LocalStack, page: Any) -> None:
    job = job_of(stack, page)
    first = page.url
    page.locator("#again").fill("0.4")
    page.locator("#redo").click()
    page.wait_for_url(lambda url: "#job/" in url and url != first)
    until_ready(page)
    again = job_of(stack, page)
    assert (again["replay_of"], again["options"]["strength"]) == (job["id"], 0.4)
    assert httpx.get(f"{stack.api_url}/v1/jobs/{job['id']}").json()["review"]["decision"] == "rejected"


def test_a_photo_is_dropped_watched_compared_downloaded_and_reviewed(stack, chromium, photo):
    with opened(chromium, stack.api_url) as (page, seen):
        page.wait_for_selector("#options input")
        drop(page, photo, ["grandma.jpg"])
        until_ready(page)

        compare_by_keyboard(page)
        look_download_and_accept(stack, page)
        redo(stack, page)

        storage = stack.settings.s3_endpoint_url
        assert seen.origins == {stack.api_url, storage}
        assert any(url.startswith(storage) and "/uploads/" in url for url in seen.urls), "uploaded straight to storage"
        assert seen.wrong == []


def test_a_16_bit_tiff_is_shown_by_a_preview_that_says_so_on_a_phone_too(stack, chromium, photo, tmp_path):
    scan = tmp_path / "scan.tif"
    assert cv2.imwrite(str(scan), cv2.imread(str(photo)).astype(np.uint16) * 257)
    with opened(chromium, stack.api_url, viewport={"width": 390, "height": 844}, has_touch=True) as (page, seen):
        page.wait_for_selector("#options input")
        page.set_input_files("#files", str(scan))
        until_ready(page)
        assert "preview" in page.locator("#shown").inner_text()
        assert page.locator(".layer.half img").count() == 2
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, "nothing sticks out"
        shot(page, "tiff-phone")
        assert seen.wrong == []


def test_what_goes_wrong_is_said_with_what_to_do(stack, chromium, tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear aunt")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with opened(chromium, stack.api_url) as (page, _):
        page.wait_for_selector("#options input")
        page.set_input_files("#files", str(letter))
        assert "Choose a JPEG" in page.locator("#notices").inner_text(timeout=PATIENCE_MS)
        page.set_input_files("#files", str(broken))
        page.wait_for_selector("#waiting .error")
        job = job_of(stack, page)
        assert job["error"]["title"] in page.locator("#waiting").inner_text()


def test_the_files_of_the_page_are_locked_in_and_asked_for_once(stack):
    answer = httpx.get(stack.api_url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert stack.settings.s3_endpoint_url in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    again = httpx.get(stack.api_url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{stack.api_url}/static/..%2fapp.py").status_code == 404


def test_the_pure_parts_of_the_scripts(stack, chromium):
    with opened(chromium, stack.api_url) as (page, seen):
        found = page.evaluate("""async () => {
          const [events, viewer, options, upload] = await Promise.all(
            ["events", "viewer", "options", "upload"].map((name) => import(`/static/${name}.js`)));
          const parse = events.parser();
          const view = viewer.zoomed({scale: 1, x: 0, y: 0}, 2, 10, 20, 1);
          return {
            events: [...parse(": hello\\n\\nevent: progress\\nid: 3\\nda"), ...parse("ta: {}\\n\\n")],
            fit: viewer.fit(200, 100, 100, 100), view, least: viewer.zoomed(view, 0.01, 0, 0, 1).scale,
            halves: viewer.halves(4096, 2048),
            values: [["0.5", {type: "number", default: 1}], ["1", {type: "number", default: 1}],
              ["", {anyOf: [{type: "integer"}, {type: "null"}], default: null}]].map(([t, s]) =>
               options.valueOf(s, t) ?? null),
            types: [upload.typeOf({name: "a.TIF", type: ""}), upload.typeOf({name: "a.txt", type: "text/plain"})],
            parts: upload.withParts({}, "image/tiff").outputs,
          }; }""")
    assert found == {
        "events": [{"id": "3", "event": "progress", "data": "{}"}],
        "fit": {"scale": 0.5, "x": 0, "y": 25},
        "view": {"scale": 2, "x": -10, "y": -20},
        "least": 1,
        "halves": {"width": 2048, "height": 1024, "bar": 61, "gap": 20},
        "values": [0.5, None, None],
        "types": ["image/tiff", None],
        "parts": ["image", "provenance", "mask", "comparison"],
    }
    assert seen.wrong == []
