"""Settings that nobody should run with are refused before anything starts, in words that hold no secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.__main__ import serve
from api.settings import ApiSettings
from jobs.durability import losses
from jobs.errors import NotSetUp
from jobs.settings import JobsSettings
from jobs.targets import is_own_door

SAFE = {"maxmemory_policy": "noeviction", "aof_enabled": 1}


@pytest.mark.parametrize(
    "words",
    [
        {"signing_secret": "a" * 40},
        {"signing_secret": "changeme" * 8},
        {"signing_secret_previous": "please-Change-Me-before-production-0123456789"},
        {"callback_secret": "whsec_" + "A" * 44},
        {"signing_secret": ""},
        {"s3_access_key_id": "photomend"},
        {"s3_secret_access_key": "0123456789abcdef"},
        {"s3_access_key_id": "photomend", "s3_secret_access_key": ""},
    ],
)
def test_secrets_that_are_none_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        JobsSettings(**words)
    assert all(value not in str(refused.value) for value in words.values() if value)


def test_secrets_as_they_are_made_are_taken() -> None:
    JobsSettings(
        signing_secret="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        callback_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw4K2o1zEvWkE=",
        s3_access_key_id="photomend",
        s3_secret_access_key="short",
    )


@pytest.mark.parametrize(
    ("change", "config", "may_forget", "word"),
    [
        ({"maxmemory_policy": "volatile-lru"}, {}, True, "noeviction"),
        ({"aof_enabled": 0}, {}, False, "appendonly yes"),
        ({}, {"appendfsync": "no"}, False, "everysec"),
        ({}, {"appendfsync": "everysec"}, False, None),
        ({"aof_enabled": 0}, {"appendfsync": "no"}, True, None),
        ({"aof_last_write_status": "err"}, {}, False, None),
    ],
)
def test_only_what_loses_accepted_jobs_stops_a_start(
    change: dict[str, Any], config: dict[str, Any], may_forget: bool, word: str | None
) -> None:
    found = losses(SAFE | change, config, may_forget=may_forget)
    assert len(found) == (word is not None)
    assert all(word is not None and word in one for one in found)


@pytest.mark.parametrize(
    ("entry", "own"),
    [
        ("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1", True), ("127.9.9.9:80", True), ("[::1]:80", True),
        ("::1", True), ("169.254.169.254", True), ("0.0.0.0:80", True), ("api.localhost:1", True),
        ("10.0.0.7:8080", False), ("intranet", False), ("hooks.example.com:443", False), ("[fd00::1]:80", False),
    ],
)  # fmt: skip
def test_the_machines_own_doors_are_known(entry: str, own: bool) -> None:
    assert is_own_door(entry) is own


@pytest.mark.parametrize("name", ["callback_allow_hosts", "input_allow_hosts"])
def test_an_api_for_others_opens_no_door_of_its_own_machine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.logs.configure", lambda **_: None)
    words = {name: ("intranet:80", "localhost:9000"), "redis_url": "redis://127.0.0.1:9"}
    with pytest.raises(NotSetUp, match=f"PHOTOMEND_{name.upper()} opens localhost:9000"):
        serve(ApiSettings(api_host="0.0.0.0", **words))
