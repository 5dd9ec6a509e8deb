"""What callbacks say, how they are signed, and when they are tried again."""

from __future__ import annotations

import json
import random

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from jobs import callbacks
from jobs.model import CallbackEvent
from jobs.states import JobState
from tests import samples

SECRET = "whsec_dGVzdHMtb25seS1ub3QtYS1yZWFsLXNlY3JldC0hIQ=="
NOW = 1_800_000_000.5
DONE = samples.job(
    state=JobState.SUCCEEDED, created_at=10.0, started_at=12.5, completed_at=20.25, result=samples.result(), epoch=1
)


def test_a_body_says_what_happened_and_when_and_shows_the_job() -> None:
    said = json.loads(callbacks.body(DONE, CallbackEvent.COMPLETED))
    assert (said["type"], said["timestamp"]) == ("job.completed", "1970-01-01T00:00:20.250Z")
    assert said["data"]["id"] == DONE.id
    assert said["data"]["metrics"] == {"queue_s": 2.5, "restore_s": 1.5}
    assert callbacks.body(DONE, CallbackEvent.COMPLETED) == callbacks.body(DONE, CallbackEvent.COMPLETED)


def test_a_body_stays_under_twenty_kilobytes_and_says_what_it_left_out() -> None:
    crowd = samples.job(
        state=JobState.SUCCEEDED, result=samples.result(faces=2000), metadata={"k": "v" * 100}, completed_at=1.0
    )
    text = callbacks.body(crowd, CallbackEvent.COMPLETED)
    assert len(text.encode()) <= callbacks.MAX_BODY_BYTES
    data = json.loads(text)["data"]
    assert (data["truncated"], data["faces"], data["metadata"]) == (["faces"], [], {"k": "v" * 100})
    assert "truncated" not in json.loads(callbacks.body(DONE, CallbackEvent.COMPLETED))["data"]


def test_the_official_package_verifies_our_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = callbacks.body(DONE, CallbackEvent.COMPLETED)
    headers = callbacks.headers([SECRET], "msg_1", text, NOW)
    assert headers["webhook-timestamp"] == "1800000000"
    import standardwebhooks.webhooks as package

    class Then(package.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(NOW, tz)

    monkeypatch.setattr(package, "datetime", Then)
    assert Webhook(SECRET).verify(text, headers) == json.loads(text)
    for wrong in ({"webhook-id": "msg_2"}, {"webhook-timestamp": "1800000001"}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(text, headers | wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(text.replace("a", "b", 1), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC0hIQ==").verify(text, headers)


def test_attempts_spread_over_three_days_then_end() -> None:
    waits = []
    while (wait := callbacks.retry_in_s(len(waits) + 1, rng=random.Random(1))) is not None:
        waits.append(wait)
    assert waits == sorted(waits)
    assert len(waits) == 9
    assert waits[0] < 7
    assert 72 * 3600 <= sum(waits) <= 96 * 3600


def test_waits_are_jittered_upwards_only() -> None:
    waits = {callbacks.retry_in_s(3, rng=random.Random(seed)) for seed in range(50)}
    assert len(waits) == 50
    assert min(waits) >= 1800
    assert max(waits) <= 1800 * 1.25


def test_a_receiver_may_ask_for_more_time_within_reason() -> None:
    assert callbacks.retry_in_s(1, retry_after_s=120) == 120
    assert callbacks.retry_in_s(3, retry_after_s=1) >= 1800
    assert callbacks.retry_in_s(1, retry_after_s=1e9) == 86_400
