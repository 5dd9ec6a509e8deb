"""What people make of results: a decision that is kept in the job, and the same picture once more in another way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api import submission, uploads
from api.openapi import header, json_body
from api.openapi import problems as errors
from api.problems import Problem
from api.requests import RedoRequest, ReviewRequest
from api.schemas import JobView
from api.service import Here, Id, Service, Tenant
from api.submitting import BODY_ERRORS, ETAG, POLL_AFTER_S, IdempotencyKey
from api.views import etag, job_view
from jobs.errors import IllegalMove, ObjectDenied
from jobs.kinds import options_for
from jobs.model import Decision, JobId, ObjectRef, TenantId
from jobs.states import TERMINAL
from jobs.store import Idempotency, Submitted

router = APIRouter()


@router.post(
    "/v1/jobs/{job_id}/review",
    tags=["jobs"],
    summary="Accept or reject a result",
    response_model=JobView,
    responses=errors(*BODY_ERRORS, "job_not_found", "illegal_state", "store_unavailable")
    | {200: {"description": "The job, which keeps the decision", "headers": ETAG}},
    openapi_extra=json_body(ReviewRequest),
)
async def review(request: Request, service: Here, tenant: Tenant, job_id: Id) -> Response:
    """Writes down what a person decided about a succeeded job. The latest decision counts; all of them are kept."""
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(ReviewRequest, words)
    return await run_in_threadpool(_review, service, tenant, job_id, said)


def _review(service: Service, tenant: TenantId, job_id: JobId, said: ReviewRequest) -> Response:
    decision = Decision(said.decision)
    try:
        job = service.store.review(job_id, tenant=tenant, decision=decision, note=said.note, by=said.by)
    except IllegalMove as err:
        detail = "Only a result that is there, and that was not decided a hundred times, can be accepted or rejected."
        raise Problem("illegal_state", detail) from err
    return JSONResponse(job_view(job), headers={"ETag": etag(job)})


@router.post(
    "/v1/jobs/{job_id}/redo",
    tags=["jobs"],
    status_code=202,
    summary="Do a job again in another way",
    response_model=JobView,
    responses=errors(
        *BODY_ERRORS, "job_not_found", "illegal_state", "invalid_option", "invalid_idempotency_key",
        "idempotency_mismatch", "quota_exceeded", "daily_quota_exceeded", "store_unavailable",
    )
    | {
        202: {
            "description": "The new job, which names the older one in replay_of",
            "headers": {
                "Location": header("The new job", "/v1/jobs/job_…"),
                "Retry-After": header("Seconds until a look is worth it", "1"),
                "Idempotent-Replayed": header("There when an earlier redo with this key is answered again", "true"),
                **ETAG,
            },
        },
    },
    openapi_extra=json_body(RedoRequest),
)  # fmt: skip
async def redo(
    request: Request, service: Here, tenant: Tenant, job_id: Id, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new job on the picture of one that has ended, with its options but for those that are named here."""
    key = submission.idempotency_key(idempotency_key)
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(RedoRequest, words)
    submitted = await run_in_threadpool(_redo, service, tenant, job_id, said, key)
    job = submitted.job
    headers = {"Location": f"/v1/jobs/{job.id}", "ETag": etag(job)}
    if job.state not in TERMINAL:
        headers["Retry-After"] = str(POLL_AFTER_S)
    if submitted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(job_view(job), status_code=202, headers=headers)


def _redo(service: Service, tenant: TenantId, job_id: JobId, said: RedoRequest, key: str | None) -> Submitted:
    old = service.store.get(job_id, tenant=tenant)
    options = options_for(old.kind, old.options.to_mapping() | said.options)
    asked: dict[str, Any] = {"redo": job_id, "options": options.to_mapping()}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    idempotency = None if key is None else Idempotency(key=key, fingerprint=digest)
    try:
        if isinstance(old.input, ObjectRef):
            service.store.tenants.require_readable(tenant, old.input, bucket=service.settings.bucket)
        return service.store.replay(job_id, tenant=tenant, options=options, idempotency=idempotency)
    except IllegalMove as err:
        raise Problem("illegal_state", "The job has not ended yet: wait for it, or cancel it first.") from err
    except ObjectDenied as err:
        raise Problem("illegal_state", "The job's picture lies where you may not read any more.") from err
