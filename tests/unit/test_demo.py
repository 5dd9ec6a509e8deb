"""The demo's parts that need no server of the stack's: its picture, its receiver, its preparations."""

from __future__ import annotations

import time

import cv2
import httpx
import numpy as np
import pytest
from standardwebhooks import Webhook

from photomend.demo import picture, run
from photomend.demo.errors import DemoError
from photomend.demo.receiver import CallbackReceiver
from tests.conftest import CALLBACK_SECRET

BODY = b'{"type":"job.completed","timestamp":"2026-01-31T12:00:00Z","data":{"id":"job_1"}}'


def signed(body: bytes, *, secret: str = CALLBACK_SECRET, at: float | None = None) -> dict[str, str]:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(at or time.time()), UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", moment, body.decode()),
    }


def test_the_old_photo_is_the_same_every_time_and_worse_than_the_portrait():
    first, second = picture.old_photo(), picture.old_photo()
    assert first == second
    worn = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert worn.shape == (picture.SCAN_SIDE_PX, picture.SCAN_SIDE_PX, 3)
    from skimage import data

    left, top, side = picture.CROP
    portrait = data.astronaut()[top : top + side, left : left + side, ::-1]
    clean = cv2.resize(portrait, worn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    error = np.mean((worn.astype(float) - clean) ** 2)
    assert 20 < 10 * np.log10(255**2 / error) < 30


def test_a_genuine_callback_is_believed():
    with CallbackReceiver(CALLBACK_SECRET) as receiver:
        assert httpx.post(receiver.url, content=BODY, headers=signed(BODY)).status_code == 204
        received = receiver.next(timeout_s=5)
    assert received.is_genuine
    assert (received.event, received.data, received.message_id) == ("job.completed", {"id": "job_1"}, "msg_1")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY.replace(b"job_1", b"job_2"), signed(BODY)),
        (BODY, signed(BODY, secret="whsec_" + "A" * 32)),
        (BODY, signed(BODY, at=time.time() - 3600)),
        (BODY, {}),
    ],
    ids=["another body", "another secret", "an hour old", "unsigned"],
)
def test_a_forged_callback_is_refused_and_not_a_word_of_it_is_kept(body, headers):
    with CallbackReceiver(CALLBACK_SECRET) as receiver:
        assert httpx.post(receiver.url, content=body, headers=headers).status_code == 401
        received = receiver.next(timeout_s=5)
    assert not received.is_genuine
    assert (received.event, received.data) == ("", {})


def test_a_callback_without_a_body_is_refused():
    with CallbackReceiver(CALLBACK_SECRET) as receiver:
        assert httpx.post(receiver.url, headers=signed(BODY)).status_code == 413
        assert receiver.next(timeout_s=0.1) is None


def test_transparency_is_shown_over_white_not_as_the_colours_under_it():
    red, clear = (0, 0, 255, 255), (0, 0, 255, 0)
    _, photo = cv2.imencode(".png", np.array([[red, clear]], np.uint8))
    shown = cv2.imdecode(np.frombuffer(picture.as_png(bytes(photo)), np.uint8), cv2.IMREAD_COLOR)
    assert shown.tolist() == [[[0, 0, 255], [255, 255, 255]]]


def test_a_photo_of_ones_own_is_submitted_byte_for_byte_and_shown_as_png(tmp_path):
    photo = tmp_path / "own.jpg"
    _, jpeg = cv2.imencode(".jpg", np.full((40, 60, 3), 128, np.uint8))
    photo.write_bytes(bytes(jpeg))
    data, shown = run.prepare(photo, tmp_path / "out")
    assert data == bytes(jpeg)
    assert shown == tmp_path / "out" / "input.png"
    assert cv2.imread(str(shown)).shape == (40, 60, 3)


def test_results_of_an_earlier_demo_are_removed_but_nothing_else_is(tmp_path):
    (tmp_path / "restored.png").write_text("old")
    (tmp_path / "letter.txt").write_text("mine")
    (tmp_path / ".stack").mkdir()
    (tmp_path / ".stack" / "mine.txt").write_text("not made by a stack")
    run.prepare(None, tmp_path)
    assert not (tmp_path / "restored.png").exists()
    assert (tmp_path / "letter.txt").read_text() == "mine"
    assert (tmp_path / ".stack" / "mine.txt").exists()


def test_a_photo_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(DemoError, match=r"No such file.*nowhere\.jpg"):
        run.prepare(tmp_path / "nowhere.jpg", tmp_path)


def test_a_file_that_is_no_photo_is_said_so(tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear aunt")
    with pytest.raises(DemoError, match="cannot be used"):
        run.prepare(letter, tmp_path)
