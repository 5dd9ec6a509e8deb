"""The calls that make a job of a picture: ``POST /v1/jobs`` restores it, ``POST /v1/detect`` only finds its faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api import submission, uploads, waiting
from api.openapi import KEY_NEEDED, header, submit_body
from api.openapi import problems as errors
from api.requests import DetectRequest, DetectWishes, JobRequest, Wishes
from api.schemas import JobView
from api.service import Service, here_and_tenant, is_welcome
from api.views import etag, job_view
from jobs.kinds import Kind
from jobs.model import Job, TenantId
from jobs.states import TERMINAL
from jobs.store import Submitted

router = APIRouter()

#: Seconds after which a look at an unfinished job is worth it.
POLL_AFTER_S = 1

Prefer = Annotated[
    str | None, Header(description="wait=N: answer when the job has ended, or after N seconds (60 at most)")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Your name for this request, bare or in double quotes; repeats are answered with the same job",
        # Said, not checked by the framework: it has an error of its own.
        json_schema_extra={"pattern": submission.KEY_PATTERN},
    ),
]
ETAG = {"ETag": header("The record's revision", '"7"')}
BODY_ERRORS = ("malformed_body", "body_too_large", "unsupported_media_type", "invalid_request")
_SUBMIT_ERRORS = (
    *BODY_ERRORS, "image_unreadable", "invalid_option", "callback_refused", "input_refused", "checksum_mismatch",
    "invalid_idempotency_key", "idempotency_mismatch", "upload_not_found", "input_denied", "quota_exceeded",
    "daily_quota_exceeded",
    "overloaded", "store_unavailable", "storage_unavailable",
)  # fmt: skip
_ANSWERS: dict[int | str, dict[str, Any]] = errors(*_SUBMIT_ERRORS) | {
    202: {
        "description": "The job is stored and will be done",
        "headers": {
            "Location": header("The job", "/v1/jobs/job_…"),
            "Retry-After": header("Seconds until a look is worth it", "1"),
            "Idempotent-Replayed": header("There when an earlier submit with this key is answered again", "true"),
            **ETAG,
        },
    },
    200: {
        "description": "The job has ended already: it is an earlier submit's, or was done within Prefer: wait",
        "model": JobView,
        "headers": ETAG,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What the bodies of one call look like."""

    kind: Kind
    stored: type[JobRequest]  #: JSON that names a picture in storage
    wishes: type[Wishes]  #: beside a file


_RESTORE = _Form(kind=Kind.RESTORE, stored=JobRequest, wishes=Wishes)
_DETECT = _Form(kind=Kind.DETECT, stored=DetectRequest, wishes=DetectWishes)


@router.post(
    "/v1/jobs",
    tags=["jobs"],
    status_code=202,
    summary="Submit a picture",
    response_model=JobView,
    responses=_ANSWERS,
    openapi_extra=submit_body(JobRequest, Wishes) | KEY_NEEDED,
)
async def submit(request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None) -> Response:
    """A JSON body names a picture in storage, a multipart body brings it. Answers once the job is stored safely."""
    return await _submit(request, _RESTORE, key=idempotency_key, prefer=prefer)


@router.post(
    "/v1/detect",
    tags=["jobs"],
    status_code=202,
    summary="Find the faces in a picture",
    response_model=JobView,
    responses=_ANSWERS,
    openapi_extra=submit_body(DetectRequest, DetectWishes) | KEY_NEEDED,
)
async def detect(request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None) -> Response:
    """A job like every other that changes nothing: its faces have the ids and places that the option faces takes.

    With image among its outputs it makes the picture with the faces marked, to look at.
    """
    return await _submit(request, _DETECT, key=idempotency_key, prefer=prefer)


async def _submit(request: Request, form: _Form, *, key: str | None, prefer: str | None) -> Response:
    service, tenant = await here_and_tenant(request)
    key = submission.idempotency_key(key)
    if uploads.media_type(request) == "multipart/form-data":
        submitted = await _submit_file(request, service, tenant, form, key)
    else:
        words = await uploads.read_json(request, service.settings.max_json_bytes)
        said = submission.checked(form.stored, words)
        submitted = await run_in_threadpool(submission.submit_stored, service, tenant, said, key, kind=form.kind)
    request.state.job_id = submitted.job.id
    seconds = waiting.wait_s(prefer)
    welcome = partial(is_welcome, request, tenant)
    job = await waiting.until_ended(service, tenant, submitted.job, seconds=seconds, welcome=welcome)
    return _accepted(job, replayed=submitted.replayed, headers=waiting.applied(seconds))


async def _submit_file(request: Request, service: Service, tenant: TenantId, form: _Form, key: str | None) -> Submitted:
    limit = service.settings.max_upload_bytes
    sent = await uploads.read_form(request, limit)
    try:
        said = submission.checked(form.wishes, uploads.wishes_from_form(sent))
        file = await run_in_threadpool(uploads.received_file, sent, limit)
        return await run_in_threadpool(submission.submit_file, service, tenant, said, file, key, kind=form.kind)
    finally:
        await sent.close()


def _accepted(job: Job, *, replayed: bool, headers: dict[str, str]) -> Response:
    has_ended = job.state in TERMINAL
    headers = headers | {"Location": f"/v1/jobs/{job.id}", "ETag": etag(job)}
    if not has_ended:
        headers["Retry-After"] = str(POLL_AFTER_S)
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(job_view(job), status_code=200 if has_ended else 202, headers=headers)
