"""Every error that the API answers, as RFC 9457 problem details from one table.

``TABLE`` maps the stable code to status, title and what the code means. A handler raises ``Problem`` or lets a
``JobsError`` through; nothing else decides a status. Details are sentences that say what to do; paths, hosts and
tracebacks stay in the log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from jobs.errors import DailyQuotaExceeded, InvalidRequest, JobsError, QuotaExceeded
from jobs.logs import without_secrets

logger = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Seconds after which a call that met our own trouble may be tried again.
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one error code says."""

    status: int
    title: str  #: the same for every problem of this code
    detail: str  #: what is said when the case has no sentence of its own


def _row(status: int, title: str, detail: str) -> Row:
    return Row(status=status, title=title, detail=detail)


#: THE table. Every ``JobsError`` code is in it (a test looks), and every code that a handler raises.
TABLE: dict[str, Row] = {
    # the caller's words
    "malformed_body": _row(400, "The body cannot be parsed", "Send one well-formed JSON object or multipart form."),
    "invalid_idempotency_key": _row(
        400, "The Idempotency-Key is not valid", "Send 1 to 255 printable ASCII characters, such as a UUID."
    ),
    "invalid_request": _row(422, "The request is not valid", "Correct the member that pointer names."),
    "invalid_option": _row(422, "An option is not valid", "Correct the option that pointer names."),
    "callback_refused": _row(
        422, "The callback's URL is not allowed", "Name a public https URL, or ask the operator to allow the host."
    ),
    "input_refused": _row(
        422,
        "The input's URL is not allowed",
        "Name an s3:// object or an upload; a public URL only where those are allowed.",
    ),
    "checksum_mismatch": _row(
        422, "The file is not the one that input_sha256 names", "Send it again; what arrived has another SHA-256."
    ),
    "idempotency_mismatch": _row(
        422,
        "The Idempotency-Key was used with another request",
        "Repeat the earlier request exactly, or send a new key.",
    ),
    "body_too_large": _row(413, "The body is too large", "Send less, or use POST /v1/uploads for large files."),
    "unsupported_media_type": _row(
        415, "The body's type is not supported", "Send application/json or multipart/form-data."
    ),
    "image_unreadable": _row(
        415,
        "The file is not a picture that we read",
        "Send a JPEG, PNG, TIFF, WebP, GIF or AVIF.",
    ),
    "manifest_invalid": _row(
        422,
        "The batch's manifest cannot be used",
        "Name an object that is there, and its format: csv, inventory, jsonl.",
    ),
    # who asks
    "unauthorized": _row(
        401, "No valid key was shown", "Send Authorization: Bearer and a key; the operator makes one for you."
    ),
    "input_denied": _row(
        403,
        "The input may not be read",
        "Name an object that you may read, or ask the operator to open its place.",
    ),
    "output_denied": _row(
        403, "Results may not be delivered there", "Name a place that the operator opened to your batches."
    ),
    "missing_scope": _row(403, "The key may not do this", "Use a key that has the scope, or ask the operator for one."),
    "foreign_origin": _row(
        403,
        "A web page of another site may not do this",
        "Call the API from a program, or ask the operator to allow the page's host.",
    ),
    "unexpected_host": _row(
        421,
        "The API does not answer under this host name",
        "Use its address, such as 127.0.0.1, or ask the operator to allow the name.",
    ),
    # what is not there
    "not_found": _row(404, "There is nothing at this address", "See /docs for the calls that exist."),
    "method_not_allowed": _row(405, "The address does not answer this method", "Use a method that Allow names."),
    "job_not_found": _row(404, "There is no such job", "Check the id; records of old jobs are removed after a while."),
    "batch_not_found": _row(404, "There is no such batch", "GET /v1/batches lists yours."),
    "item_not_found": _row(404, "The batch has no such item", "Lines get their row when they end; see …/items."),
    "upload_not_found": _row(404, "There is no such upload", "Uploads expire; create a new one by POST /v1/uploads."),
    "part_not_found": _row(404, "The job has no such result", "Ask for a part that the job's output names."),
    "key_not_found": _row(404, "There is no such key", "GET /v1/keys lists yours."),
    "tenant_not_found": _row(404, "There is no such tenant", "Ask the operator to set it up."),
    # the state of things
    "too_many_keys": _row(409, "There are two active keys for these scopes", "Revoke one of them first."),
    "illegal_state": _row(409, "The job's state does not allow this", "Read the job and decide by its status."),
    "fenced": _row(409, "Another attempt owns the job", "Read the job and decide by its status."),
    "result_not_ready": _row(409, "The job has no result yet", "Wait until its status is succeeded."),
    "job_failed": _row(409, "The job failed and has no result", "Read the job's error, correct it and submit again."),
    "job_canceled": _row(409, "The job was canceled and has no result", "Submit it again if you want a result."),
    "result_expired": _row(410, "The job's results have been removed", "Submit the picture again."),
    "rate_limited": _row(429, "Too many requests", "Wait as long as Retry-After says; RateLimit tells what is left."),
    "quota_exceeded": _row(429, "Too many unfinished jobs", "Wait until some of your jobs have finished."),
    # ours
    "internal": _row(
        500, "Something went wrong on our side", "Try again; if it stays, tell the operator the X-Request-Id."
    ),
    "unreadable_record": _row(
        500, "The job's record cannot be read", "Try again in a few minutes; if it stays, tell the operator the id."
    ),
    "spec_forged": _row(
        500, "The job's record is not what was submitted", "Submit it again, and tell the operator the job's id."
    ),
    "input_not_found": _row(502, "The storage did not take the file", "Tell the operator: the bucket does not exist."),
    "input_unreachable": _row(502, "The picture could not be fetched", "See that its URL answers with the picture."),
    "input_too_many_bytes": _row(413, "The input file is larger than allowed", "Send a smaller file."),
    "input_changed": _row(409, "The input changed after it was submitted", "Submit it again."),
    "daily_quota_exceeded": _row(
        429, "The day's quota is used up", "The day ends at 00:00 UTC; Retry-After says in how many seconds."
    ),
    "overloaded": _row(503, "There is too much work at the moment", "Submit again as late as Retry-After says."),
    "store_unavailable": _row(503, "The job store is not available at the moment", "Try again in a few seconds."),
    "storage_unavailable": _row(503, "The storage is not available at the moment", "Try again in a few seconds."),
    "not_ready": _row(503, "A service that we need does not answer", "Try again in a few seconds; see checks."),
}

#: HTTP's own errors, as the framework raises them.
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}


class Problem(Exception):
    """Raised when a request is answered with an error of the API's own.

    ``more`` are extension members of the body, ``headers`` go on the response.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code if detail is None else f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.headers = dict(headers or {})
        self.more = dict(more or {})


def body(code: str, detail: str | None = None, *, pointer: str | None = None, **more: Any) -> dict[str, Any]:
    """The problem details of ``code``: type, title, status, detail, code, and pointer where a member is to blame."""
    row = TABLE[code]
    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": row.title,
        "status": row.status,
        "detail": detail or row.detail,
        "code": code,
    }
    if pointer is not None:
        content["pointer"] = pointer
    return content | more


def response(problem: Problem, *, instance: str | None = None) -> JSONResponse:
    """``problem`` as it goes over the wire."""
    content = body(problem.code, problem.detail, pointer=problem.pointer, **problem.more)
    if instance is not None:
        # Callers put keys into addresses by mistake, and errors into their own logs.
        content["instance"] = without_secrets(instance)
    headers = {"Cache-Control": "no-store"} | problem.headers
    if content["status"] in {429, 503}:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(content, status_code=content["status"], headers=headers, media_type=MEDIA_TYPE)


def from_jobs_error(error: JobsError) -> Problem:
    """The problem that a contract error is told as: its own detail only where that was written for the caller."""
    if isinstance(error, InvalidRequest):
        return Problem(error.code, f"{error.detail[:1].upper()}{error.detail[1:]}.", pointer=error.pointer)
    headers = {}
    if isinstance(error, QuotaExceeded) and error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    detail = None
    if isinstance(error, DailyQuotaExceeded):
        detail = f"You may have {error}. The day ends at 00:00 UTC; Retry-After says in how many seconds."
    return Problem(error.code if error.code in TABLE else "internal", detail, headers=headers)


def from_validation(errors: list[Any]) -> Problem:
    """The first of pydantic's complaints as ours, the rest counted; locations become JSON pointers or parameters."""
    first = errors[0]
    place, *path = (str(part) for part in first["loc"]) if first["loc"] else ("body",)
    message = first["msg"].removeprefix("Value error, ")
    sentence = f"{message[:1].upper()}{message[1:]}."
    others = f" There are {len(errors) - 1} more faults." if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        sentence = f"{path[-1] if path else place} is not known here."
    if place == "body":
        pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)
        return Problem("invalid_request", sentence + others, pointer=pointer)
    return Problem("invalid_request", sentence + others, more={"parameter": ".".join(path)})


def install(app: FastAPI, known: Sequence[BaseRoute]) -> None:
    """Make errors of ``app``, whose routes are ``known``, problems: ours, the framework's. ``tracing`` has the rest."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return response(_problem_of(error, request.url.path, known), instance=request.url.path)

    for kind in (Problem, JobsError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def _problem_of(error: Exception, path: str, known: Sequence[BaseRoute]) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, JobsError):
        problem = from_jobs_error(error)
        if TABLE[problem.code].status >= 500:
            logger.warning("request failed", code=problem.code, error=str(error), path=path)
        return problem
    if isinstance(error, RequestValidationError):
        return from_validation(list(error.errors()))
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, "malformed_body" if error.status_code < 500 else "internal")
        return Problem(code, headers={"Allow": allowed_methods(path, known)} if error.status_code == 405 else None)
    return Problem("internal")


def allowed_methods(path: str, known: Sequence[BaseRoute]) -> str:
    """Every method that the address answers. The framework names those of one route only; several share an address."""
    matching = [route for route in known if isinstance(route, Route) and route.path_regex.match(path)]
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))
