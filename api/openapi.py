"""The OpenAPI document: every error of every call from the one table, and bodies that the framework can't infer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api import problems as table
from api.examples import EXAMPLE_JOB_ID, EXAMPLE_UPLOAD_ID, example_job
from api.schemas import JobRequest, UploadRequest, Wishes

DESCRIPTION = """Mends old and degraded photos of people. A job names a picture; workers restore it; the result is
fetched by a presigned URL. Every error is an RFC 9457 problem with a stable `code`."""

_REF = "#/components/schemas/{model}"
#: Every call may meet these.
_ALWAYS = ("internal",)

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


def text_response(description: str, media_type: str, example: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}, "example": example}}}


def header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


#: The body of a submit: the framework sees none of it, because the two kinds are read by hand.
SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="JobRequest")},
                "examples": {
                    "s3": {"summary": "A picture in your bucket", "value": {"input": "s3://photos/1923/wedding.tif"}},
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
                        "request": {"$ref": _REF.format(model="Wishes")},
                    },
                    "description": "The picture and, in one JSON part, the wishes. Plain fields do as well: option "
                    "names, priority, deadline_s, callback_url.",
                },
                "encoding": {"request": {"contentType": "application/json"}},
                "examples": {"curl": {"summary": "curl -F file=@old.jpg -F scale=2", "value": {"file": "…"}}},
            },
        },
    }
}

EVENTS_EXAMPLE = (
    f'event: progress\nid: 3\ndata: {{"id":"{EXAMPLE_JOB_ID}","status":"processing",'
    '"progress":{"stage":"restore","percent":40},"cancel_requested":false}\n\n'
    f'event: end\nid: 5\ndata: {{"id":"{EXAMPLE_JOB_ID}","status":"succeeded","…":"…"}}\n\n'
)


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
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (JobRequest, UploadRequest, Wishes):
        schemas |= _with_definitions(model)
    schemas["Problem"] = PROBLEM_SCHEMA
    # Here and not on the models: the framework drops nulls from examples, and a job has members that are null.
    schemas["JobView"]["examples"] = [example_job()]
    schemas["JobPage"]["examples"] = [{"jobs": [example_job()], "next_cursor": None}]
    return document


def _with_definitions(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    return definitions | {model.__name__: schema}
