"""The calls but those that submit. Each handler reads its words, asks the store, and says the answer."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import events, problems, submission, uploads, waiting
from api.events import LastEventId
from api.moments import moment
from api.openapi import events_response, header, json_body
from api.openapi import problems as errors
from api.problems import Problem
from api.requests import UploadRequest
from api.results import result_place
from api.schemas import (
    CallbacksView,
    JobPage,
    JobView,
    ListQuery,
    ModelsView,
    ResultPlace,
    ResultQuery,
    UploadView,
)
from api.service import Here, Id, Service, Tenant, is_welcome
from api.submitting import BODY_ERRORS, ETAG, POLL_AFTER_S, Prefer
from api.views import callbacks_view, etag, fleet, job_view, upload_view
from jobs.errors import IllegalMove
from jobs.model import Decision, Job
from jobs.states import TERMINAL, JobState

router = APIRouter()


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
    review = query.review if query.review in {None, "pending"} else Decision(query.review)
    after, before = (None if text is None else moment(text) for text in (query.created_after, query.created_before))
    page = service.store.list(
        tenant,
        cursor=query.cursor,
        limit=query.limit,
        state=state,
        review=review,
        created_after=after,
        created_before=before,
        batch=query.batch,
    )
    words: dict[str, object] = {"jobs": [job_view(job) for job in page.jobs], "next_cursor": page.next_cursor}
    if page.unreadable:
        words["unreadable"] = list(page.unreadable)
    return JSONResponse(words)


@router.get(
    "/v1/jobs/{job_id}",
    tags=["jobs"],
    summary="Read a job",
    response_model=JobView,
    responses=errors("job_not_found", "store_unavailable")
    | {
        200: {
            "description": "The job as it is now",
            "headers": {**ETAG, "Retry-After": header("Unfinished only", "1")},
        },
        304: {"description": "Nothing has changed since the ETag in If-None-Match"},
    },
)
async def get_job(
    request: Request,
    service: Here,
    tenant: Tenant,
    job_id: Id,
    *,
    if_none_match: Annotated[str | None, Header(description="ETag of an earlier answer")] = None,
    prefer: Prefer = None,
) -> Response:
    """The job's record: status, progress, and once it has ended the output or the error."""
    job = await run_in_threadpool(service.store.get, job_id, tenant=tenant)
    seconds = waiting.wait_s(prefer)
    job = await waiting.until_ended(service, tenant, job, seconds=seconds, welcome=partial(is_welcome, request, tenant))
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
    responses=errors("job_not_found", "store_unavailable") | {200: {"description": "The job", "headers": ETAG}},
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
    | {
        303: {"description": "The file is there", "headers": {"Location": header("Presigned URL", "https://…")}},
        200: {
            "description": "For Accept: application/json, where the file is",
            "model": ResultPlace,
        },
    },
)  # fmt: skip
def get_result(
    service: Here,
    tenant: Tenant,
    job_id: Id,
    query: Annotated[ResultQuery, Query()],
    accept: Annotated[
        str | None, Header(description="application/json to be told the URL in place of the redirect")
    ] = None,
) -> Response:
    """Redirects to a presigned URL that works for a quarter of an hour. Don't send your key there."""
    job = service.store.get(job_id, tenant=tenant)
    place = result_place(service, job, query.part)
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    # A list of types is a browser's or a client's own; who wants to be told says just that.
    if (accept or "").strip().lower() == "application/json":
        return JSONResponse(place.model_dump(), headers=headers)
    return RedirectResponse(place.url, status_code=303, headers=headers)


@router.get(
    "/v1/jobs/{job_id}/events",
    tags=["jobs"],
    response_class=StreamingResponse,
    summary="Watch a job",
    responses=errors("job_not_found", "invalid_request", "store_unavailable")
    | {
        200: events_response("progress events, then one end event with the whole job"),
        204: {"description": "Last-Event-ID is the end already: nothing more will come"},
    },
)
def get_events(
    request: Request,
    service: Here,
    tenant: Tenant,
    job_id: Id,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events: progress whenever the record changes, end when the job has ended, or the key is revoked."""
    job = service.store.get(job_id, tenant=tenant)
    if job.state in TERMINAL and job.revision == last_event_id:
        # EventSource connects again after every end of stream, until it is told that there is no content.
        return Response(status_code=204)
    welcome = partial(is_welcome, request, tenant)
    stream = events.stream(service, tenant, job, view=job_view, last_seen=last_event_id, welcome=welcome)
    return StreamingResponse(stream, media_type=events.MEDIA_TYPE, headers=events.HEADERS)


@router.get(
    "/v1/jobs/{job_id}/callbacks",
    tags=["jobs"],
    summary="See what became of a job's callbacks",
    response_model=CallbacksView,
    responses=errors("job_not_found", "store_unavailable"),
)
def get_callbacks(service: Here, tenant: Tenant, job_id: Id) -> dict[str, Any]:
    """Each event that has happened and was asked for: attempts, last error, when it is tried again."""
    return callbacks_view(service.store.callbacks(job_id, tenant=tenant))


@router.post(
    "/v1/jobs/{job_id}/callbacks/replay",
    tags=["jobs"],
    status_code=202,
    summary="Send a job's callbacks again",
    response_model=CallbacksView,
    responses=errors("job_not_found", "illegal_state", "store_unavailable")
    | {202: {"description": "They are sent as soon as a sender is free"}},
)
def replay_callbacks(service: Here, tenant: Tenant, job_id: Id) -> Response:
    """Every event so far, delivered or not, once more under its own webhook-id; a 410 of the endpoint is forgotten."""
    told = service.store.callbacks(job_id, tenant=tenant)
    if not told:
        detail = "There is nothing to send again: no callback was asked for, or none of its events has happened."
        raise Problem("illegal_state", detail)
    service.store.replay_callbacks([record.id for record in told])
    again = callbacks_view(service.store.callbacks(job_id, tenant=tenant))
    return JSONResponse(again, status_code=202)


@router.post(
    "/v1/uploads",
    tags=["uploads"],
    status_code=201,
    summary="Get a place to upload to",
    response_model=UploadView,
    responses=errors(*BODY_ERRORS, "daily_quota_exceeded", "store_unavailable"),
    openapi_extra=json_body(UploadRequest),
)
async def create_upload(request: Request, service: Here, tenant: Tenant) -> Response:
    """A presigned PUT for one file of this type and size; then submit its upload_id. Unused uploads expire."""
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(UploadRequest, words)
    return await run_in_threadpool(_register, service, tenant, said)


def _register(service: Service, tenant: Tenant, said: UploadRequest) -> Response:
    upload = submission.new_upload(
        service, tenant, content_type=said.content_type, size=said.size, filename=said.filename, sha256=said.sha256
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
def get_models(service: Here, tenant: Tenant) -> dict[str, Any]:
    """What the workers that reported lately have: weights with hash and licence. The same for every tenant."""
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
