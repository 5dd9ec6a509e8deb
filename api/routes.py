"""The calls. Each handler reads its words, asks the store, and says the answer; decisions are made elsewhere."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import events, problems, submission, uploads, waiting
from api.openapi import EVENTS_EXAMPLE, SUBMIT_BODY, header, text_response
from api.openapi import problems as errors
from api.problems import Problem
from api.results import result_url
from api.schemas import (
    JobPage,
    JobRequest,
    JobView,
    ListQuery,
    ModelsView,
    ResultQuery,
    UploadRequest,
    UploadView,
    Wishes,
)
from api.service import Here, Id, Service, Tenant
from api.views import etag, fleet, job_view, upload_view
from jobs.errors import IllegalMove
from jobs.model import Job
from jobs.states import TERMINAL, JobState
from jobs.store import Submitted

router = APIRouter()

#: Seconds after which a look at an unfinished job is worth it.
POLL_AFTER_S = 1

Prefer = Annotated[
    str | None, Header(description="wait=N: answer when the job has ended, or after N seconds (60 at most)")
]
_ETAG = {"ETag": header("The record's revision", '"7"')}
_BODY_ERRORS = ("malformed_body", "body_too_large", "unsupported_media_type", "invalid_request")
_SUBMIT_ERRORS = (
    *_BODY_ERRORS, "image_unreadable", "invalid_option", "callback_refused", "invalid_idempotency_key",
    "idempotency_mismatch", "upload_not_found", "quota_exceeded", "store_unavailable", "storage_unavailable",
)  # fmt: skip


@router.post(
    "/v1/jobs",
    tags=["jobs"],
    status_code=202,
    summary="Submit a picture",
    response_model=JobView,
    responses=errors(*_SUBMIT_ERRORS)
    | {
        202: {
            "description": "The job is stored and will be done",
            "headers": {
                "Location": header("The job", "/v1/jobs/job_…"),
                "Retry-After": header("Seconds until a look is worth it", "1"),
                "Idempotent-Replayed": header("There when an earlier submit with this key is answered again", "true"),
                **_ETAG,
            },
        },
        200: {
            "description": "The job has ended already: it is an earlier submit's, or was done within Prefer: wait",
            "model": JobView,
            "headers": _ETAG,
        },
    },
    openapi_extra=SUBMIT_BODY,
)
async def submit(
    request: Request,
    service: Here,
    tenant: Tenant,
    idempotency_key: Annotated[
        str | None, Header(description="Your name for this request; repeats are answered with the same job")
    ] = None,
    prefer: Prefer = None,
) -> Response:
    """A JSON body names a picture in storage, a multipart body brings it. Answers once the job is stored safely."""
    key = submission.idempotency_key(idempotency_key)
    if uploads.media_type(request) == "multipart/form-data":
        submitted = await _submit_form(request, service, tenant, key)
    else:
        words = await uploads.read_json(request, service.settings.max_json_bytes)
        said = submission.checked(JobRequest, words)
        submitted = await run_in_threadpool(submission.submit_stored, service, tenant, said, key)
    seconds = waiting.wait_s(prefer)
    job = await waiting.until_ended(service, tenant, submitted.job, seconds=seconds)
    return _accepted(job, replayed=submitted.replayed, headers=waiting.applied(seconds))


async def _submit_form(request: Request, service: Service, tenant: Tenant, key: str | None) -> Submitted:
    limit = service.settings.max_upload_bytes
    form = await uploads.read_form(request, limit)
    try:
        said = submission.checked(Wishes, uploads.wishes_from_form(form))
        file = await run_in_threadpool(uploads.received_file, form, limit)
        return await run_in_threadpool(submission.submit_file, service, tenant, said, file, key)
    finally:
        await form.close()


def _accepted(job: Job, *, replayed: bool, headers: dict[str, str]) -> Response:
    has_ended = job.state in TERMINAL
    headers = headers | {"Location": f"/v1/jobs/{job.id}", "ETag": etag(job)}
    if not has_ended:
        headers["Retry-After"] = str(POLL_AFTER_S)
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(job_view(job), status_code=200 if has_ended else 202, headers=headers)


@router.get(
    "/v1/jobs",
    tags=["jobs"],
    summary="List jobs, newest first",
    response_model=JobPage,
    responses=errors("invalid_request", "store_unavailable"),
)
def list_jobs(service: Here, tenant: Tenant, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of jobs; next_cursor leads to the next one and is null on the last."""
    state = None if query.status is None else JobState(query.status)
    page = service.store.list(tenant, cursor=query.cursor, limit=query.limit, state=state)
    return JSONResponse({"jobs": [job_view(job) for job in page.jobs], "next_cursor": page.next_cursor})


@router.get(
    "/v1/jobs/{job_id}",
    tags=["jobs"],
    summary="Read a job",
    response_model=JobView,
    responses=errors("job_not_found", "store_unavailable")
    | {
        200: {
            "description": "The job as it is now",
            "headers": {**_ETAG, "Retry-After": header("Unfinished only", "1")},
        },
        304: {"description": "Nothing has changed since the ETag in If-None-Match"},
    },
)
async def get_job(
    service: Here,
    tenant: Tenant,
    job_id: Id,
    if_none_match: Annotated[str | None, Header(description="ETag of an earlier answer")] = None,
    prefer: Prefer = None,
) -> Response:
    """The job's record: status, progress, and once it has ended the output or the error."""
    job = await run_in_threadpool(service.store.get, job_id, tenant=tenant)
    seconds = waiting.wait_s(prefer)
    job = await waiting.until_ended(service, tenant, job, seconds=seconds)
    return _told(job, if_none_match, waiting.applied(seconds))


def _told(job: Job, if_none_match: str | None, headers: dict[str, str]) -> Response:
    headers = headers | {"ETag": etag(job), "Cache-Control": "private, no-cache"}
    if job.state not in TERMINAL:
        headers["Retry-After"] = str(POLL_AFTER_S)
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if etag(job) in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return JSONResponse(job_view(job), headers=headers)


@router.post(
    "/v1/jobs/{job_id}/cancel",
    tags=["jobs"],
    summary="Cancel a job",
    response_model=JobView,
    responses=errors("job_not_found", "store_unavailable") | {200: {"description": "The job", "headers": _ETAG}},
)
def cancel_job(service: Here, tenant: Tenant, job_id: Id) -> Response:
    """A waiting job ends at once, a running one within seconds (cancel_requested); a finished one stays as it is."""
    job = service.store.cancel(job_id, tenant=tenant)
    return JSONResponse(job_view(job), headers={"ETag": etag(job)})


@router.delete(
    "/v1/jobs/{job_id}",
    tags=["jobs"],
    status_code=204,
    summary="Delete a job's results",
    responses=errors("job_not_found", "illegal_state", "store_unavailable")
    | {204: {"description": "Its results can't be read any more and are being removed"}},
)
def delete_job(service: Here, tenant: Tenant, job_id: Id) -> Response:
    """Removes everything stored for a finished job: results, upload, and then its record."""
    try:
        service.store.delete(job_id, tenant=tenant)
    except IllegalMove as err:
        raise Problem("illegal_state", "The job has not ended yet: cancel it first, then delete it.") from err
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{job_id}/result",
    tags=["jobs"],
    status_code=303,
    response_class=RedirectResponse,
    summary="Fetch a result",
    responses=errors(
        "job_not_found", "part_not_found", "result_not_ready", "job_failed", "job_canceled", "result_expired",
        "invalid_request", "store_unavailable",
    )
    | {303: {"description": "The file is there", "headers": {"Location": header("Presigned URL", "https://…")}}},
)  # fmt: skip
def get_result(service: Here, tenant: Tenant, job_id: Id, query: Annotated[ResultQuery, Query()]) -> Response:
    """Redirects to a presigned URL that works for a quarter of an hour. Don't send your key there."""
    job = service.store.get(job_id, tenant=tenant)
    url = result_url(service, job, query.part)
    return RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/jobs/{job_id}/events",
    tags=["jobs"],
    response_class=StreamingResponse,
    summary="Watch a job",
    responses=errors("job_not_found", "invalid_request", "store_unavailable")
    | {
        200: text_response("progress events, then one end event with the whole job", events.MEDIA_TYPE, EVENTS_EXAMPLE),
        204: {"description": "Last-Event-ID is the end already: nothing more will come"},
    },
)
def get_events(
    service: Here,
    tenant: Tenant,
    job_id: Id,
    last_event_id: Annotated[
        int | None, Header(ge=0, description="The id of the last event that you have seen")
    ] = None,
) -> Response:
    """Server-sent events: progress whenever the record changes, end when the job has ended."""
    job = service.store.get(job_id, tenant=tenant)
    if job.state in TERMINAL and job.revision == last_event_id:
        # EventSource connects again after every end of stream, until it is told that there is no content.
        return Response(status_code=204)
    stream = events.stream(service, tenant, job, view=job_view, last_seen=last_event_id)
    return StreamingResponse(stream, media_type=events.MEDIA_TYPE, headers=events.HEADERS)


@router.post(
    "/v1/uploads",
    tags=["uploads"],
    status_code=201,
    summary="Get a place to upload to",
    response_model=UploadView,
    responses=errors(*_BODY_ERRORS, "store_unavailable"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/UploadRequest"}}},
        }
    },
)
async def create_upload(request: Request, service: Here, tenant: Tenant) -> Response:
    """A presigned PUT for one file of this type and size; then submit its upload_id. Unused uploads expire."""
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(UploadRequest, words)
    return await run_in_threadpool(_register, service, tenant, said)


def _register(service: Service, tenant: Tenant, said: UploadRequest) -> Response:
    upload = submission.new_upload(
        service, tenant, content_type=said.content_type, size=said.size, filename=said.filename
    )
    upload = service.store.register_upload(upload)
    return JSONResponse(upload_view(service, upload), status_code=201, headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/models",
    tags=["models"],
    summary="Which models are at hand",
    response_model=ModelsView,
    responses=errors("store_unavailable"),
)
def get_models(service: Here) -> dict[str, Any]:
    """What the workers that reported lately have: weights with hash and licence."""
    return fleet(service.store.slots())


@router.get(
    "/problems/{code}",
    tags=["documentation"],
    summary="What an error code means",
    responses=errors("not_found")
    | {
        200: {
            "description": "What every problem of the code says",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": problems.body("job_not_found"),
                }
            },
        }
    },
)
def get_problem(code: str) -> dict[str, Any]:
    """What the ``type`` of a problem leads to."""
    if code not in problems.TABLE:
        raise Problem("not_found")
    return problems.body(code)
