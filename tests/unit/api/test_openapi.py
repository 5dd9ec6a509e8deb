"""The OpenAPI document is complete, and its examples are true."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from api.app import create_app
from api.options_schema import detect_options_schema, options_schema
from api.problems import TABLE
from api.settings import ApiSettings
from jobs.blobs import BlobStore
from jobs.delivery.errors import DeliveryError
from jobs.errors import InvalidOption, JobsError
from jobs.kinds import Kind, options_for
from jobs.options import JobOptions
from jobs.store import JobStore

CALLS = {
    "post /v1/jobs",
    "post /v1/detect",
    "get /v1/jobs",
    "get /v1/jobs/{job_id}",
    "delete /v1/jobs/{job_id}",
    "post /v1/jobs/{job_id}/cancel",
    "get /v1/jobs/{job_id}/result",
    "post /v1/jobs/{job_id}/review",
    "post /v1/jobs/{job_id}/redo",
    "post /v1/callbacks/test",
    "get /v1/callbacks/secrets",
    "get /v1/jobs/{job_id}/callbacks",
    "post /v1/jobs/{job_id}/callbacks/replay",
    "get /v1/jobs/{job_id}/events",
    "post /v1/uploads",
    "post /v1/batches",
    "get /v1/batches",
    "get /v1/batches/{batch_id}",
    "get /v1/batches/{batch_id}/items",
    "get /v1/batches/{batch_id}/items/{number}",
    "get /v1/batches/{batch_id}/items/{number}/result",
    "post /v1/batches/{batch_id}/items/{number}/review",
    "get /v1/batches/{batch_id}/review",
    "get /v1/batches/{batch_id}/review.csv",
    "post /v1/batches/{batch_id}/redo",
    "get /v1/batches/{batch_id}/report",
    "get /v1/batches/{batch_id}/events",
    "post /v1/batches/{batch_id}/cancel",
    "post /v1/batches/{batch_id}/pause",
    "post /v1/batches/{batch_id}/resume",
    "post /v1/batches/{batch_id}/retry-failed",
    "get /v1/models",
    "get /problems/{code}",
    "get /livez",
    "get /readyz",
    "get /metrics",
}
METHODS = {"get", "post", "delete", "put", "patch"}
#: Ends of a job, told in its record; the API answers none of them itself.
FAILURES_ONLY = {"deadline_exceeded", "too_many_interruptions", "poison"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = ApiSettings(s3_endpoint_url="http://127.0.0.1:9")
    return create_app(JobStore.connect(settings), BlobStore.connect(settings), settings).openapi()


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield f"{method} {path}", operation


def media_of(operation):
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for answer in operation["responses"].values():
        yield from answer.get("content", {}).items()


def examples_of(document, media):
    if "example" in media:
        return [media["example"]]
    if "examples" in media:
        return [example["value"] for example in media["examples"].values()]
    name = media["schema"].get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"].get(name, {}).get("examples", [])


def validate(document, schema, value):
    whole = {"$ref": "#/wanted", "wanted": schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_it_is_openapi_3_1_and_every_schema_in_it_is_one(document):
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_call_is_described_and_every_reference_leads_somewhere(document):
    assert {name for name, _ in operations(document)} == CALLS
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                assert node["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"], node
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


def test_every_body_has_an_example_that_its_own_schema_accepts(document):
    for name, operation in operations(document):
        for kind, media in media_of(operation):
            examples = examples_of(document, media)
            assert examples, f"{name}: {kind}"
            for example in examples:
                validate(document, media["schema"], example)


def test_every_error_is_a_problem_whose_example_is_what_is_sent(document):
    for name, operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert "500" in errors, name
        for status, answer in errors.items():
            assert list(answer["content"]) == ["application/problem+json"], name
            for code, example in answer["content"]["application/problem+json"]["examples"].items():
                assert (example["value"]["code"], str(TABLE[code].status)) == (code, status)


def test_every_error_of_the_contract_has_a_row(document):
    def below(kind):
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    codes = {kind.code for kind in [JobsError, *below(JobsError)] if kind.__module__.startswith("jobs.")}
    # About files on somebody's disk; from the API they would be faults of ours.
    codes -= {kind.code for kind in [DeliveryError, *below(DeliveryError)]}
    assert codes - FAILURES_ONLY <= set(TABLE)


@pytest.mark.parametrize(
    "words",
    [
        {},
        JobOptions().to_mapping(),
        {"scale": 2, "bit_depth": 16, "model": None, "seed": 0, "tile_px": 128, "outputs": ["mask"]},
        {"scale": 5},
        {"scale": "2"},
        {"tile_px": 64},
        {"tile_px": 4096},
        {"aligned": 1},
        {"outputs": []},
        {"outputs": ["mask", "mask"]},
        {"bit_depth": 12},
        {"model": "none"},
        {"passes": 1.5},
        {"passes": 2.0, "page": 7.0, "bit_depth": 8.0, "seed": 3.0},
        {"colour": "blue"},
        {"seed": -1},
        {"max_faces": None},
        {"suffix": "x" * 65},
        {"faces": "center"},
        {"faces": "biggest"},
        {"faces": ["g5k2p", [1, 2.5, 30, 40]]},
        {"faces": []},
        {"faces": ["all"]},
        {"faces": ["o5k2p"]},
        {"faces": [[1, 2, 3]]},
        {"faces": [[1, 2, 3, 9e9]]},
        {"faces": 1},
    ],
)
def test_the_documented_options_are_the_ones_that_are_accepted(words):
    try:
        JobOptions.from_mapping(words)
    except InvalidOption:
        accepted = False
    else:
        accepted = True
    assert jsonschema.Draft202012Validator(options_schema()).is_valid(words) == accepted


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"faces": ["g5k2p"], "min_face_px": 40, "max_face_px": 900, "max_faces": 3, "min_score": 0.7},
        {"outputs": ["image"]},
        {"outputs": ["image", "provenance"]},
        {"outputs": ["mask"]},
        {"outputs": ["faces", "image"]},
        {"scale": 3},
        {"model": "gfpgan-1.4"},
        {"min_score": 2},
    ],
)
def test_the_documented_options_of_a_detection_are_the_ones_that_are_accepted(words):
    try:
        options_for(Kind.DETECT, words)
    except InvalidOption:
        accepted = False
    else:
        accepted = True
    assert jsonschema.Draft202012Validator(detect_options_schema()).is_valid(words) == accepted
