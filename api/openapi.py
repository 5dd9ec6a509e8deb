"""The OpenAPI document: every error of every call from the one table, and bodies that the framework can't infer."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api import problems as table
from api.batch_bodies import BODIES
from api.batch_review_bodies import BODIES as REVIEW_BODIES
from api.examples import EXAMPLE_JOB_ID, EXAMPLE_UPLOAD_ID, example_batch, example_job
from api.keys import REALM
from api.requests import (
    CallbackTestRequest,
    DetectRequest,
    DetectWishes,
    JobRequest,
    RedoRequest,
    ReviewRequest,
    UploadRequest,
    Wishes,
)
from api.schemas import EventView

DESCRIPTION = """Mends old and degraded photos of people. A job names a picture; workers restore it; the result is
fetched by a presigned URL. Every error is an RFC 9457 problem with a stable `code`."""

_REF = "#/components/schemas/{model}"
#: Every call may meet these.
_ALWAYS = ("internal",)
#: Every call that is about somebody's jobs may meet these.
_ABOUT_KEYS = ("unauthorized", "missing_scope", "rate_limited", "store_unavailable")

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "Address of what is said about the code", "format": "uri-reference"},
        "title": {"type": "string", "description": "The same for every problem of the code"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What happened and what to do"},
        "code": {"type": "string", "enum": sorted(table.TABLE)},
        "instance": {"type": "string", "description": "The path that was called"},
        "pointer": {"type": "string", "description": "JSON pointer to the offending member of the body"},
        "parameter": {"type": "string", "description": "The offending query parameter"},
        "error": {"type": "object", "description": "Why the job failed: code, title, detail"},
        "violated-policies": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Which of the policies in RateLimit-Policy the request was beyond",
        },
        "checks": {"type": "object", "description": "What /readyz asked, and the answers"},
    },
}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a call that may answer these error codes, each with an example."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, *_ALWAYS):
        row = table.TABLE[code]
        media = found.setdefault(row.status, _problem_response(row.title))["content"][table.MEDIA_TYPE]
        media["examples"][code] = {"summary": row.title, "value": table.body(code)}
    return found


def _problem_response(title: str) -> dict[str, Any]:
    media = {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}
    return {"description": title, "content": {table.MEDIA_TYPE: media}}


def header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a call that reads its JSON by hand."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


#: What the framework would say of a call that depends on ``service.Tenant``.
KEY_NEEDED: dict[str, Any] = {"security": [{"key": []}]}


def submit_body(stored: type[BaseModel], wishes: type[BaseModel]) -> dict[str, Any]:
    """The body of a call that submits: the framework sees none of it, because the two kinds are read by hand."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REF.format(model=stored.__name__)},
                    "examples": {
                        "s3": {
                            "summary": "A picture in your bucket",
                            "value": {"input": "s3://photos/1923/wedding.tif"},
                        },
                        "upload": {
                            "summary": "An upload, with a callback",
                            "value": {
                                "upload_id": EXAMPLE_UPLOAD_ID,
                                "callback": {"url": "https://example.com/hooks/photomend"},
                            },
                        },
                    },
                },
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                            "request": {"$ref": _REF.format(model=wishes.__name__)},
                        },
                        "description": "The picture and, in one JSON part, the wishes. Plain fields do as well: option "
                        "names, priority, deadline_s, callback_url.",
                    },
                    "encoding": {"request": {"contentType": "application/json"}},
                    "examples": {"curl": {"summary": "curl -F file=@old.jpg", "value": {"file": "…"}}},
                },
            },
        }
    }


def events_response(description: str) -> dict[str, Any]:
    """A stream of server-sent events; as OpenAPI has it before 3.2, ``schema`` is that of each of them."""
    progress = {
        "id": EXAMPLE_JOB_ID,
        "status": "processing",
        "progress": {"stage": "restore", "percent": 40},
        "cancel_requested": False,
    }
    examples = {
        name: {"summary": f"The fields of one event: {name}", "value": {"event": name, "id": revision, "data": data}}
        for name, revision, data in (
            ("progress", "3", json.dumps(progress)),
            ("end", "5", json.dumps(example_job(), ensure_ascii=False)),
        )
    }
    schema = {
        "type": "object",
        "title": "Event",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "enum": ["progress", "end"]},
            "id": {"type": "string", "pattern": "^[0-9]+$", "description": "The record's revision, for Last-Event-ID"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"anyOf": [{"$ref": _REF.format(model=name)} for name in ("EventView", "JobView")]},
            },
            "retry": {"type": "string"},
        },
    }
    return {"description": description, "content": {"text/event-stream": {"schema": schema, "examples": examples}}}


def install(app: FastAPI) -> None:
    """Serve a completed document: Problem and the submit's bodies as components, no foreign error bodies."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary="Restore faces in old photos, as jobs",
                description=DESCRIPTION,
                routes=app.routes,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            )
            app.openapi_schema = _completed(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    for operations in document["paths"].values():
        for operation in operations.values():
            # The framework would promise its own validation error where we answer a problem.
            answer = operation["responses"].get("422", {})
            if "application/json" in answer.get("content", {}):
                del operation["responses"]["422"]
            if "security" in operation:
                _add_problems(operation["responses"], *_ABOUT_KEYS)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    bodies: tuple[type[BaseModel], ...] = (
        JobRequest, Wishes, DetectRequest, DetectWishes, UploadRequest, ReviewRequest, RedoRequest, CallbackTestRequest,
        *BODIES, *REVIEW_BODIES,
    )  # fmt: skip
    for model in bodies:
        schemas |= _with_definitions(model)
    schemas["Problem"] = PROBLEM_SCHEMA
    schemas["EventView"] = EventView.model_json_schema(ref_template=_REF, mode="serialization")
    schemas["EventView"].pop("$defs", None)  # ProgressView is there with JobView
    # Here and not on the models: the framework drops nulls from examples, and a job has members that are null.
    schemas["JobView"]["examples"] = [example_job()]
    schemas["JobPage"]["examples"] = [{"jobs": [example_job()], "next_cursor": None}]
    schemas["BatchView"]["examples"] = [example_batch()]
    schemas["BatchPageView"]["examples"] = [{"batches": [example_batch()], "next_cursor": None}]
    return document


def _add_problems(responses: dict[str, Any], *codes: str) -> None:
    for status, answer in problems(*codes).items():
        known = responses.setdefault(str(status), answer)
        known["content"][table.MEDIA_TYPE]["examples"] |= answer["content"][table.MEDIA_TYPE]["examples"]
        if status == 401:
            known["headers"] = {"WWW-Authenticate": header("How to show a key", REALM)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out: null can't be sent in an address or a header."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**kinds[0], **rest}


def _with_definitions(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    return definitions | {model.__name__: schema}
