"""What a receiver believes, and what it does not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from jobs import callbacks
from jobs.model import LOCAL_TENANT, TenantId
from jobs.settings import JobsSettings
from photomend import webhooks

NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = '{"type":"job.completed","data":{"id":"ä"}}'
HEADERS = callbacks.headers([SECRET], "msg_1", BODY, NOW)


@pytest.mark.parametrize("late_s", [-300, -1, 0, 299, 300])
def test_a_genuine_request_is_believed_within_the_tolerance(late_s: float) -> None:
    said = webhooks.verify(BODY.encode(), HEADERS, SECRET, now=NOW + late_s)
    assert said == json.loads(BODY)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"webhook-id": "msg_2"}, "no signature fits"),
        ({"webhook-timestamp": str(int(NOW) + 1)}, "no signature fits"),
        ({"webhook-timestamp": "1e9"}, "not a number"),
        ({"webhook-timestamp": "-1"}, "not a number"),
        ({"webhook-timestamp": "١٢٣"}, "not a number"),
        ({"webhook-timestamp": str(int(NOW) - 301)}, "too far"),
        ({"webhook-timestamp": str(int(NOW) + 302)}, "too far"),
        ({"webhook-signature": ""}, "missing"),
        ({"webhook-signature": "v1"}, "no signature fits"),
        ({"webhook-signature": "v1,"}, "no signature fits"),
        ({"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v2,")}, "no signature fits"),
        ({"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v1a,")}, "no signature fits"),
        ({"webhook-signature": HEADERS["webhook-signature"].removeprefix("v1,")}, "no signature fits"),
        ({"webhook-signature": "v1,äöü"}, "no signature fits"),
    ],
)
def test_whatever_is_changed_is_not_believed(change: dict[str, str], why: str) -> None:
    with pytest.raises(webhooks.VerificationError, match=why):
        webhooks.verify(BODY, HEADERS | change, SECRET, now=NOW)


def test_one_of_several_signatures_and_one_of_several_secrets_will_do() -> None:
    both = callbacks.headers([OTHER, SECRET], "msg_1", BODY, NOW)
    assert both["webhook-signature"].count("v1,") == 2
    assert webhooks.verify(BODY, both, SECRET, now=NOW)
    assert webhooks.verify(BODY, HEADERS, [OTHER, SECRET], now=NOW)
    assert webhooks.verify(
        BODY, HEADERS | {"webhook-signature": f"v1a,x {HEADERS['webhook-signature']}"}, SECRET, now=NOW
    )
    with pytest.raises(webhooks.VerificationError):
        webhooks.verify(BODY, HEADERS, [OTHER], now=NOW)


@pytest.mark.parametrize("text", ["[]", "no json", "1"])
def test_what_is_signed_but_no_event_is_not_believed(text: str) -> None:
    with pytest.raises(webhooks.VerificationError, match="signed but"):
        webhooks.verify(text, callbacks.headers([SECRET], "msg_1", text, NOW), SECRET, now=NOW)


@pytest.mark.parametrize("wrong", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", SECRET + "x", []])
def test_a_secret_that_is_none_is_the_receivers_mistake_and_is_not_repeated(wrong: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        webhooks.verify(BODY, HEADERS, wrong, now=NOW)
    assert not wrong or str(wrong) not in str(caught.value) or wrong == "whsec_"


def test_a_receiver_needs_nothing_but_the_standard_library() -> None:
    """Not even that of the client: its imports are looked at in a fresh interpreter."""
    code = (
        "import sys; from photomend import webhooks; "
        "print([n for n in ('httpx', 'pydantic', 'standardwebhooks', 'jobs', 'typer', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_tenant_has_a_secret_of_its_own_that_follows_the_installations() -> None:
    settings = JobsSettings(callback_secret=SECRET, callback_secret_previous=OTHER)
    assert settings.callback_secrets(LOCAL_TENANT) == (SECRET, OTHER)
    anna, ben = settings.callback_secrets(TenantId("anna")), settings.callback_secrets(TenantId("ben"))
    assert len({*anna, *ben, SECRET, OTHER}) == 6
    assert all(callbacks.is_secret(one) for one in (*anna, *ben))
    assert JobsSettings(callback_secret=SECRET).callback_secrets(TenantId("anna")) == anna[:1]
    headers = callbacks.headers(anna, "msg_1", BODY, NOW)
    assert webhooks.verify(BODY, headers, anna[1], now=NOW)
    with pytest.raises(webhooks.VerificationError):
        webhooks.verify(BODY, headers, [*ben, SECRET, OTHER], now=NOW)
    assert JobsSettings().callback_secrets(TenantId("anna")) == ()


@pytest.mark.parametrize("wrong", ["hunter2hunter2", "whsec_aHVudGVyMg==", "whsec_hunter2!"])
def test_a_secret_that_cannot_sign_is_refused_at_the_start_without_being_told(wrong: str) -> None:
    with pytest.raises(ValidationError, match="24 to 64 bytes") as caught:
        JobsSettings(callback_secret=wrong)
    assert wrong not in str(caught.value)
