"""The page's states in a real Chromium, over an API that asks for keys; each test is the worker, so states stay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from jobs.keys import Scope
from jobs.model import Decision, Failure, Job, Notice
from jobs.states import JobState
from photomend.stack.ports import free_ports
from tests import browser
from tests.browser import PATIENCE_MS, Seen, assert_accessible, drop, opened, paste, pinch, shot, until
from tests.keyed import KeyedApi, keyed_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIDE = 512
#: Of the result, by the default scale.
SCALE = 2
NOT_A_PICTURE = Failure(
    code="image_truncated", title="The input picture is truncated or damaged.", detail="It ends at byte 4096 of 5311."
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def api(stack) -> Iterator[KeyedApi]:
    with keyed_api(stack.settings) as running:
        running.blobs.ensure_bucket(running.settings.bucket)
        yield running


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A portrait of 512 px that has seen better days."""
    from skimage import data

    sharp = cv2.resize(data.astronaut()[:, :, ::-1], (SIDE, SIDE))
    path = tmp_path_factory.mktemp("old") / "old.jpg"
    assert cv2.imwrite(str(path), cv2.cvtColor(cv2.GaussianBlur(sharp, (0, 0), 3), cv2.COLOR_BGR2GRAY))
    return path


def encoded(picture: np.ndarray, extension: str) -> bytes:
    done, data = cv2.imencode(extension, picture)
    assert done
    return data.tobytes()


def parts() -> dict[str, tuple[bytes, str]]:
    """What a worker would have made of it."""
    from skimage import data

    side = SCALE * SIDE
    sharp = cv2.resize(data.astronaut()[:, :, ::-1], (side, side), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, (454, 240), (124, 164), 0, 0, 360, 255, -1)
    return {
        "image": (encoded(cv2.cvtColor(sharp, cv2.COLOR_BGR2GRAY), ".jpg"), "image/jpeg"),
        "mask": (encoded(cv2.GaussianBlur(mask, (0, 0), 16), ".png"), "image/png"),
        "provenance": (b'{"schema": 1}', "application/json"),
    }


def face(index: int, box: list[float], **changes: Any) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    words = {
        "id": f"g5k2{'pqr'[index]}", "index": index, "box": box, "landmarks": [[x0, y0]] * 5, "score": 0.99,
        "size_px": max(x1 - x0, y1 - y0), "status": "restored", "reason": None, "yaw_deg": -4.0, "identity": 0.44,
        "review": [], "seconds": 0.4,
    }  # fmt: skip
    return words | changes


FACES = (
    face(
        0, [20, 300, 60, 350], score=0.31, status="rejected", reason="The detector is not sure enough.", identity=None
    ),
    face(1, [172, 50, 282, 200], review=[{"code": "identity", "reason": "It may look like somebody else."}]),
    face(2, [430, 60, 452, 88], score=0.71, status="skipped", reason="It is smaller than min_face_px.", identity=None),
)
WARNINGS = (Notice(code="converted_to_srgb", detail="The picture was converted to sRGB."),)


def finish(api: KeyedApi, job: Job) -> None:
    api.finish(job, parts(), size=(SCALE * SIDE, SCALE * SIDE), faces=FACES, warnings=WARNINGS)


@pytest.fixture
def made(api, old) -> Any:
    """Makes jobs of a key's tenant, as another program would, and gives their ids."""

    def make(key: str, *names: str) -> list[str]:
        with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}) as client:
            ids = []
            for name in names:
                words = {"request": f'{{"metadata": {{"name": "{name}"}}}}'}
                answer = client.post("/v1/jobs", data=words, files={"file": (name, old.read_bytes())})
                assert answer.status_code == 202, answer.text
                ids.append(answer.json()["id"])
            return ids

    return make


def sign_in(page: Any, key: str) -> None:
    page.locator("#sign-in:not([hidden])").wait_for()
    page.fill("#key", key)
    page.keyboard.press("Enter")


def signed_in(page: Any, key: str) -> None:
    sign_in(page, key)
    page.locator("#home:not([hidden]) #options input").first.wait_for()


def notice(page: Any, words: str) -> str:
    """The notice with these words, once it is there."""
    box = page.locator("#notices .notice", has_text=words)
    box.wait_for()
    said: str = box.inner_text()
    return said


def job_of(api: KeyedApi, page: Any) -> Job:
    return api.store.get(page.url.rpartition("/")[2])


def until_shown(page: Any) -> None:
    page.wait_for_url(lambda url: "#job/" in url)
    page.locator("#job:not([hidden])").wait_for()


def assert_key_is_nowhere_but_in_its_header(page: Any, seen: Seen, api: KeyedApi, key: str) -> None:
    assert not any("pm_live" in url for url in seen.urls)
    shown = [request.url for request in seen.requests if request.headers.get("authorization") == f"Bearer {key}"]
    assert shown
    assert all(url.startswith(f"{api.url}/") for url in shown)
    assert page.evaluate("[localStorage.length, document.cookie, Object.keys(sessionStorage)]") == [
        0, "", ["photomend-key"],
    ]  # fmt: skip


def test_a_key_is_asked_for_and_one_that_is_wrong_or_revoked_is_refused_in_words(api, chromium):
    key = api.key("asked")
    with opened(chromium, api.url) as (page, seen):
        page.locator("#sign-in:not([hidden])").wait_for()
        assert page.evaluate("document.activeElement.id") == "key"
        assert_accessible(page, "sign-in")
        sign_in(page, "pm_live_wrong")
        until(page, "document.querySelector('#sign-in-error').textContent.includes('There is no such key')")
        assert page.locator("#home").is_hidden()
        assert_accessible(page, "sign-in-refused")

        signed_in(page, key)
        page.locator("#empty:not([hidden])").wait_for()
        assert "wait" in notice(page, "No worker is running")
        assert_key_is_nowhere_but_in_its_header(page, seen, api, key)
        assert_accessible(page, "start")

        api.revoke(key)
        while page.locator("#sign-in").is_hidden():
            # For two seconds at most a key that was seen lately is still believed.
            page.reload()
            page.locator("#sign-in:not([hidden]), #home:not([hidden])").first.wait_for()
        assert "revoked" in page.locator("#sign-in-error").inner_text()
        assert page.locator(".tile").count() == 0
        assert page.evaluate("sessionStorage.getItem('photomend-key')") is None


def test_a_key_that_may_only_look_shows_photos_and_says_what_it_may_not_do(api, chromium, old, made):
    (job_id,) = made(api.key("looking"), "portrait.jpg")
    finish(api, api.claim(job_id))
    with opened(chromium, api.url) as (page, _):
        signed_in(page, api.key("looking", Scope.READ))
        page.get_by_role("button", name="Accept portrait.jpg").click()
        assert "scope submit" in notice(page, "The key may not do this")
        page.get_by_role("button", name="Dismiss").last.click()
        drop(page, old, ["another.jpg"])
        assert "another.jpg" in notice(page, "The key may not do this")
        assert api.store.get(job_id).reviews == ()
        assert len(api.jobs("looking")) == 1
        page.get_by_role("button", name="Sign out").click()
        assert page.locator(".tile").count() == 0
        sign_in(page, api.key("looking", Scope.SUBMIT))
        until(page, "document.querySelector('#sign-in-error').textContent.includes('scope read')")


def test_where_calls_are_limited_the_page_says_so_and_goes_on_by_itself(api, chromium, made):
    key = api.key("limited", requests_per_min=20)
    made(key, "portrait.jpg")
    with opened(chromium, api.url) as (page, _):
        signed_in(page, key)
        page.locator(".tile", has_text="portrait.jpg").wait_for()
        said = ""
        while "by itself in" not in said:
            # A slow machine clicks when there is room again: then once more.
            exhaust(api, key)
            page.get_by_role("button", name="To review").click()
            page.wait_for_timeout(150)
            said = page.locator("#live").inner_text()
        assert said.startswith("Too many requests.")
        shot(page, "limited")
        page.locator("#wait").wait_for(state="detached")
        until(page, "document.querySelector('#empty').textContent === 'Nothing waits for your decision.'")


def exhaust(api: KeyedApi, key: str) -> None:
    with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}) as client:
        while client.get("/v1/models").status_code != 429:
            pass


def test_a_quota_of_the_day_that_is_used_up_is_said_with_when_to_come_again(api, chromium, old):
    now = datetime.now(UTC)
    if (now.hour, now.minute) >= (23, 55):
        pytest.skip("the day ends while this is tested")
    with opened(chromium, api.url) as (page, _):
        signed_in(page, api.key("daily", upload_bytes_a_day=100))
        drop(page, old, ["portrait.jpg"])
        said = notice(page, "quota is used up")
        assert "portrait.jpg" in said
        assert "Try again " in said
        assert page.locator(".tile").count() == 0


def test_a_storage_that_does_not_answer_is_said_and_nothing_is_submitted(stack, chromium, old):
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    with (
        keyed_api(stack.settings, s3_endpoint_url=nowhere, s3_public_endpoint_url=nowhere) as api,
        opened(chromium, api.url) as (page, _),
    ):
        signed_in(page, api.key("stranded"))
        drop(page, old, ["portrait.jpg"])
        assert "portrait.jpg" in notice(page, "The storage is not available")
        assert page.locator(".tile").count() == 0
        assert api.jobs("stranded") == []


def test_a_job_store_that_does_not_answer_is_said_with_a_way_to_try_again(stack, chromium):
    nowhere = f"redis://127.0.0.1:{free_ports(1)[0]}/0"
    with (
        keyed_api(stack.settings, redis_url=nowhere, api_keys_required=False) as api,
        opened(chromium, api.url) as (page, _),
    ):
        page.locator("#trouble:not([hidden])").wait_for()
        assert "The job store is not available" in page.locator("#trouble").inner_text()
        assert page.get_by_role("button", name="Try again").is_visible()
        assert_accessible(page, "trouble")


def test_a_photo_waits_for_a_worker_is_mended_and_is_there_again_after_every_reload(api, chromium, old):
    key = api.key("whole")
    api.worker_is_gone()
    with opened(chromium, api.url, has_touch=True) as (page, seen):
        signed_in(page, key)
        drop(page, old, ["grandma.jpg"])
        until_shown(page)
        page.locator("#waiting", has_text="Waiting: no worker is running").wait_for()
        job = job_of(api, page)
        assert job.metadata["name"] == "grandma.jpg"
        # The bucket lets no page of this address in, so the file came through the API.
        assert any(request.method == "PUT" and "/uploads/" in request.url for request in seen.requests)
        assert any(request.method == "POST" and request.url == f"{api.url}/v1/jobs" for request in seen.requests)
        assert_accessible(page, "waiting")

        page.reload()
        page.locator("#waiting", has_text="Waiting: no worker is running").wait_for()
        api.worker_is_there()
        page.locator("#waiting", has_text="Waiting for a worker").wait_for()
        assert page.locator("#notices .notice").count() == 0
        job = api.claim(job.id)
        api.beat(job, "restore", 40)
        page.locator("#waiting", has_text="Mending faces").wait_for()
        assert page.locator("#waiting progress").evaluate("bar => bar.value") == 40
        until(page, "document.querySelector('#live').textContent === 'Mending faces'")
        until(page, "[...document.querySelectorAll('#waiting img')].some(i => i.complete && i.naturalWidth)")
        assert_accessible(page, "working")

        page.context.set_offline(True)
        page.get_by_text("You are offline").wait_for()
        page.context.set_offline(False)
        page.reload()
        page.locator("#waiting", has_text="Mending faces").wait_for()
        finish(api, job)
        page.locator("#stage:not([hidden]) .divider").wait_for()
        assert page.evaluate("document.querySelector('#live').textContent") == "grandma.jpg: ready"

        compare(page)
        look_at_faces_and_mask(page)
        fetch_every_file(page)
        review(api, page, job)


def test_when_the_api_is_gone_for_a_while_the_page_says_so_and_catches_up(stack, chromium, old):
    with contextlib.ExitStack() as window:
        with keyed_api(stack.settings) as api:
            api.blobs.ensure_bucket(api.settings.bucket)
            page, _ = window.enter_context(opened(chromium, api.url))
            signed_in(page, api.key("restarted"))
            drop(page, old, ["grandma.jpg"])
            until_shown(page)
            page.locator("#waiting progress").wait_for()
        page.locator("#waiting", has_text="The connection broke").wait_for()
        with keyed_api(stack.settings, at=api.settings.api_port) as again:
            again.beat(again.claim(page.url.rpartition("/")[2]), "restore", 70)
            page.locator("#waiting", has_text="Mending faces").wait_for()
            assert page.locator("#waiting progress").evaluate("bar => bar.value") == 70
            window.close()


def compare(page: Any) -> None:
    """By mouse, by touch and by keyboard."""
    divider, zoom = page.get_by_role("slider", name="Divider"), page.locator("#tools output")
    assert_accessible(page, "compare")
    fitted, place = zoom.inner_text(), "document.querySelector('.world').style.transform"
    divider.focus()
    for key, expected in (("ArrowRight", "52"), ("PageDown", "42"), ("Home", "0"), ("End", "100")):
        page.keyboard.press(key)
        assert divider.get_attribute("aria-valuenow") == expected
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "stage"
    was = page.evaluate(place)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(place) != was
    assert divider.get_attribute("aria-valuenow") == "100"
    page.keyboard.press("1")
    assert zoom.inner_text() == "100 %"
    page.keyboard.press("0")
    assert (zoom.inner_text(), page.evaluate(place)) == (fitted, was)

    stage = page.locator("#stage").bounding_box()
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    until(page, f"document.querySelector('#tools output').textContent !== '{fitted}'")
    wheeled = zoom.inner_text()
    was = page.evaluate(place)
    page.mouse.down()
    page.mouse.move(x - 50, y, steps=3)
    page.mouse.up()
    assert page.evaluate(place) != was
    assert zoom.inner_text() == wheeled
    page.get_by_role("button", name="Fit").click()
    pinch(page, "#stage", by=2)
    until(page, f"document.querySelector('#tools output').textContent !== '{fitted}'")
    assert int(zoom.inner_text().split()[0]) > int(fitted.split()[0])
    page.get_by_role("button", name="Fit").click()
    divider.focus()
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("PageUp")
    assert divider.get_attribute("aria-valuenow") == "50"


def look_at_faces_and_mask(page: Any) -> None:
    page.get_by_role("button", name="What changed").click()
    assert page.locator(".mask img").evaluate("i => i.decode().then(() => i.naturalWidth)") == SCALE * SIDE
    assert_accessible(page, "mask")
    page.get_by_role("button", name="What changed").click()
    assert page.locator(".mask").is_hidden()

    faces = page.locator("#faces button")
    assert faces.count() == page.locator(".box").count() == len(FACES)
    words = faces.nth(1).inner_text()
    assert all(
        part in words for part in ("Face 2: restored", "0.99", "0.44", "g5k2q", "It may look like somebody else.")
    )
    assert "The detector is not sure enough." in faces.nth(0).inner_text()
    page.get_by_role("button", name="Faces", exact=True).click()
    shot(page, "faces-fit")
    faces.nth(1).focus()
    page.keyboard.press("Enter")
    assert [box.get_attribute("aria-pressed") for box in page.locator(".box").all()] == ["false", "true", "false"]
    assert_accessible(page, "faces")
    page.get_by_role("button", name="Fit").click()


def fetch_every_file(page: Any) -> None:
    for part, (data, _) in parts().items():
        with page.expect_download() as coming:
            page.locator(f'[data-part="{part}"]').click()
        assert Path(coming.value.path()).read_bytes() == data
        assert coming.value.suggested_filename.startswith(part)


def review(api: KeyedApi, page: Any, job: Job) -> None:
    page.fill("#by", "Mia")
    page.fill("#note", "it is her")
    page.locator("#accept").click()
    until(page, "document.querySelector('#decision')?.textContent.includes('Accepted by Mia')")
    (said,) = api.store.get(job.id).reviews
    assert (said.decision, said.by, said.note) == (Decision.ACCEPTED, "Mia", "it is her")
    assert page.evaluate("document.activeElement.id") == "accept"
    assert_accessible(page, "accepted")

    page.locator("#again").fill("0.4")
    page.locator("#redo").click()
    page.wait_for_url(lambda url: "#job/" in url and job.id not in url)
    page.locator("#waiting:not([hidden]) progress").wait_for()
    again = job_of(api, page)
    assert (again.replay_of, again.options.strength) == (job.id, 0.4)
    latest = api.store.get(job.id).reviews[-1]
    assert (latest.decision, latest.by) == (Decision.REJECTED, "Mia")

    api.fail(api.claim(again.id), NOT_A_PICTURE)
    page.locator("#waiting .error").wait_for()
    said = page.locator("#waiting").inner_text()
    assert all(words in said for words in (NOT_A_PICTURE.title, NOT_A_PICTURE.detail, NOT_A_PICTURE.code))
    assert_accessible(page, "failed")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(lambda url: "#job/" in url and again.id not in url)
    page.locator("#waiting:not([hidden]) progress").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name="Canceled").wait_for()
    assert job_of(api, page).state is JobState.CANCELED


def test_several_photos_make_a_grid_that_is_reviewed_in_place_and_by_the_keyboard(api, chromium, old, made):
    key = api.key("grid")
    ids = made(key, "one.jpg", "two.jpg", "three.jpg", "broken.jpg", "running.jpg")
    for job_id in ids[:3]:
        finish(api, api.claim(job_id))
    api.fail(api.claim(ids[3]), NOT_A_PICTURE)
    api.beat(api.claim(ids[4]), "upsample", 60)
    api.worker_is_there()
    with opened(chromium, api.url) as (page, seen):
        signed_in(page, key)
        page.locator(".tile", has_text="Enlarging").wait_for()
        page.get_by_label("Reviewer").fill("Jo")
        page.get_by_role("button", name="Accept one.jpg").focus()
        page.keyboard.press("Enter")
        page.locator(".tile", has_text="one.jpg").locator(".badge", has_text="accepted").wait_for()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Accept one.jpg"
        page.get_by_role("button", name="Reject two.jpg").click()
        page.locator(".tile", has_text="two.jpg").locator(".badge", has_text="rejected").wait_for()
        assert [[(said.decision, said.by) for said in api.store.get(one).reviews] for one in ids[:3]] == [
            [(Decision.ACCEPTED, "Jo")],
            [(Decision.REJECTED, "Jo")],
            [],
        ]
        until(page, "[...document.querySelectorAll('.tile')].every(t => t.querySelector('img')?.naturalWidth)")
        assert_accessible(page, "review")
        shot(page, "review-whole", full=True)
        for name, tile in (("Accepted", "one.jpg"), ("Rejected", "two.jpg"), ("To review", "three.jpg")):
            page.get_by_role("button", name=name, exact=True).click()
            page.get_by_role("link", name=f"Open {tile}").wait_for()
            until(page, "document.querySelectorAll('.tile').length === 1")
        paste(page, old, "pasted.png")
        until_shown(page)
        assert job_of(api, page).metadata["name"] == "pasted.png"
        page.get_by_role("link", name="All photos").click()
        page.locator(".tile").nth(5).wait_for()
        assert [words for words in seen.wrong if words.startswith("CSP")] == []


def test_a_detection_shows_the_faces_over_the_photo_and_nothing_to_compare(api, chromium, old):
    key = api.key("detect")
    with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}) as client:
        job_id = client.post("/v1/detect", files={"file": ("group.jpg", old.read_bytes())}).json()["id"]
    found = tuple(one | {"status": "found"} if one["status"] == "restored" else one for one in FACES)
    record = {"provenance": (b'{"schema": 1}', "application/json")}
    api.finish(api.claim(job_id), record, size=(SIDE, SIDE), faces=found)
    api.worker_is_there()
    with opened(chromium, f"{api.url}/#job/{job_id}") as (page, _):
        sign_in(page, key)
        page.locator("#stage:not([hidden]) .box").first.wait_for()
        assert page.locator(".box").nth(1).is_visible()
        assert page.locator(".divider").count() == 0
        assert "nothing was changed" in page.locator("#shown").inner_text()
        assert page.locator("#redo").count() == 0
        until(page, "document.querySelector('.layer img').naturalWidth > 0")
        assert_accessible(page, "detection")


def test_whoever_has_only_a_keyboard_comes_everywhere_and_out_again(api, chromium, made):
    key = api.key("keyboard")
    (job_id,) = made(key, "portrait.jpg")
    finish(api, api.claim(job_id))
    api.worker_is_there()
    with opened(chromium, api.url) as (page, _):
        signed_in(page, key)
        page.get_by_role("link", name="Open portrait.jpg").wait_for()
        page.reload()
        page.get_by_role("link", name="Open portrait.jpg").wait_for()
        assert tabbed(page)[:6] == ["Skip to the content", "photomend", "to-batches", "API", "sign-out", "files"]
        page.get_by_role("link", name="Open portrait.jpg").click()
        until_shown(page)
        page.reload()
        page.locator("#stage:not([hidden]) .divider").wait_for()
        way = tabbed(page)
        order = ["stage", "Divider between before and after", "Zoom out", "Faces", "accept", "by", "redo"]
        assert [name for name in way if name in order] == order, way
        assert len(way) == len(set(way)), "no element holds the focus"


def tabbed(page: Any) -> list[str]:
    """What Tab comes to, from the beginning of the page until it leaves it."""
    way: list[str] = []
    name = "e => e.id || e.getAttribute('aria-label') || e.dataset.part || e.textContent.trim().slice(0, 40)"
    while len(way) < 80:
        page.keyboard.press("Tab")
        said = page.evaluate(f"(({name}))(document.activeElement)")
        if page.evaluate("document.activeElement === document.body"):
            return way
        way.append(said)
    return way


def test_on_a_phone_nothing_sticks_out(api, chromium, made):
    key = api.key("phone")
    first, second = made(key, "a photo with a rather long name from 1923.jpg", "running.jpg")
    finish(api, api.claim(first))
    api.beat(api.claim(second), "restore", 30)
    api.worker_is_there()
    with opened(chromium, api.url, viewport={"width": 360, "height": 760}, has_touch=True) as (page, _):
        signed_in(page, key)
        until(page, "[...document.querySelectorAll('.tile')].every(t => t.querySelector('img')?.naturalWidth)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert_accessible(page, "phone-start")
        shot(page, "phone-start-whole", full=True)
        page.get_by_role("link", name="Open a photo").click()
        page.locator("#stage:not([hidden]) .divider").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert_accessible(page, "phone-compare")
        shot(page, "phone-compare-whole", full=True)


def test_the_documentation_is_accessible(api, chromium):
    with opened(chromium, f"{api.url}/docs") as (page, seen):
        page.get_by_role("heading", name="Errors").wait_for(timeout=PATIENCE_MS)
        shot(page, "docs")
        page.set_viewport_size({"width": 360, "height": 760})
        page.locator("details").first.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert_accessible(page, "docs-phone")
        assert seen.wrong == []
