"""Callers of version 1 go on working: the contract of the code against the published one, and the judge itself."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.contracts.compatibility import SNAPSHOT, breaking_changes, contract_of_the_code, text_of


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads(SNAPSHOT.read_text())


def test_nothing_that_callers_rely_on_has_changed(published):
    assert breaking_changes(published, contract_of_the_code()) == []


def test_the_published_contract_is_the_one_of_the_code():
    assert text_of(contract_of_the_code()) == SNAPSHOT.read_text(), "additions are published by `make contract-accept`"


def at(document: Any, *path: str) -> Any:
    for name in path:
        document = document[name]
    return document


JOBS = ("paths", "/v1/jobs")
SUBMITTED = ("components", "schemas", "JobRequest")
TOLD = ("components", "schemas", "JobView")

#: What is done to a copy of the contract → a sentence that must be among those said of it.
BREAKING = {
    "a call is removed": (lambda d: at(d, *JOBS).pop("get"), "GET /v1/jobs: the call is gone"),
    "a path is removed": (lambda d: d["paths"].pop("/v1/models"), "GET /v1/models: the call is gone"),
    "a status is removed": (
        lambda d: at(d, *JOBS, "post", "responses").pop("202"), "POST /v1/jobs: does not answer 202 any more"
    ),
    "a header is removed": (
        lambda d: at(d, *JOBS, "post", "responses", "202", "headers").pop("Location"),
        "POST /v1/jobs, 202: the header Location is gone",
    ),
    "a told member is removed": (
        lambda d: at(d, *TOLD, "properties").pop("status"), "GET /v1/jobs/{job_id}, 200/status: gone"
    ),
    "a told member changes its type": (
        lambda d: at(d, *TOLD, "properties").update(attempt={"type": "string"}),
        "GET /v1/jobs/{job_id}, 200/attempt: was integer, is string",
    ),
    "a told member may be null": (
        lambda d: at(d, *TOLD, "properties").update(attempt={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        "GET /v1/jobs/{job_id}, 200/attempt: was integer, is integer or null",
    ),
    "a told member may be missing": (
        lambda d: at(d, *TOLD, "required").remove("status"), "GET /v1/jobs/{job_id}, 200/status: may be missing now"
    ),
    "a told word is removed": (
        lambda d: at(d, *TOLD, "properties", "status", "enum").remove("expired"),
        'GET /v1/jobs/{job_id}, 200/status: "expired" is gone',
    ),
    "a member deep in an answer is removed": (
        lambda d: at(d, "components", "schemas", "FaceView", "properties").pop("box"),
        "GET /v1/jobs/{job_id}, 200/faces[]/box: gone",
    ),
    "an error code is removed": (
        lambda d: at(d, "components", "schemas", "Problem", "properties", "code", "enum").remove("job_not_found"),
        'GET /v1/jobs/{job_id}, 404/code: "job_not_found" is gone',
    ),
    "a sent member is required": (
        lambda d: at(d, *SUBMITTED).update(required=["metadata"]), "POST /v1/jobs, body/metadata: required now"
    ),
    "a sent member is removed": (
        lambda d: at(d, *SUBMITTED, "properties").pop("metadata"), "POST /v1/jobs, body/metadata: gone"
    ),
    "a sent word is refused": (
        lambda d: at(d, *SUBMITTED, "properties", "priority", "enum").remove("batch"),
        'POST /v1/jobs, body/priority: "batch" is gone',
    ),
    "a sent number is bounded lower": (
        lambda d: at(d, *SUBMITTED, "properties", "options", "properties", "scale").update(maximum=2),
        "POST /v1/jobs, body/options/scale: maximum was 4, is 2",
    ),
    "a sent text gets a pattern": (
        lambda d: at(d, *SUBMITTED, "properties", "options", "properties", "model").update(pattern="^g"),
        "POST /v1/jobs, body/options/model: the pattern was not set, is ^g",
    ),
    "a kind of body is refused": (
        lambda d: at(d, *JOBS, "post", "requestBody", "content").pop("multipart/form-data"),
        "POST /v1/jobs: does not take multipart/form-data any more",
    ),
    "a parameter is removed": (
        lambda d: at(d, *JOBS, "get")["parameters"].clear(), "GET /v1/jobs, query parameter limit: gone"
    ),
    "a parameter is required": (
        lambda d: at(d, *JOBS, "get")["parameters"].append(
            {"in": "query", "name": "batch", "required": True, "schema": {"type": "string"}}
        ),
        "GET /v1/jobs, query parameter batch: required now",
    ),
}  # fmt: skip

HARMLESS = {
    "nothing": lambda d: None,
    "a new call": lambda d: d["paths"].update({"/v1/new": {"get": {"responses": {}}}}),
    "a new told member": lambda d: at(d, *TOLD, "properties").update(colour={"type": "string"}),
    "a new told word": lambda d: at(d, *TOLD, "properties", "status", "enum").append("paused"),
    "a new sent member that may be left out": lambda d: at(d, *SUBMITTED, "properties").update(x={"type": "string"}),
    "a higher bound": lambda d: at(d, *SUBMITTED, "properties", "options", "properties", "scale").update(maximum=8),
    "a new status": lambda d: at(d, *JOBS, "get", "responses").update({"418": {"description": "…"}}),
    "other words": lambda d: at(d, *JOBS, "get").update(summary="…"),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_callers_is_told(published, change):
    changed = copy.deepcopy(published)
    forge, sentence = BREAKING[change]
    forge(changed)
    assert sentence in breaking_changes(published, changed)


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_that_only_adds_is_none(published, change):
    changed = copy.deepcopy(published)
    HARMLESS[change](changed)
    assert breaking_changes(published, changed) == []
