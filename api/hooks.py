"""Trying out a receiver of callbacks, and the secret that it verifies them by."""

from __future__ import annotations

import functools
import json
import secrets
import time
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api import limits, submission, uploads
from api.openapi import problems as errors
from api.problems import Problem
from api.requests import CallbackTestRequest
from api.schemas import CallbackTestView, SecretsView
from api.service import Here, Service, Tenant, Who
from api.submitting import BODY_ERRORS
from jobs import callbacks
from jobs.keys import Scope
from jobs.model import TenantId
from jobs.outbound import NotReached, Poster
from jobs.rates import Bucket
from jobs.targets import parse_callback_url
from jobs.view import timestamp

router = APIRouter()

#: Longest time that a receiver may take for a test (seconds).
TIMEOUT_S = 10.0
#: Tests that this process waits for at a time; more stand in line, and hold up nothing else.
AT_A_TIME = 4
EVENT = "callback.test"


# Made once for a process: reading the certificates takes longer than a delivery.
@functools.cache
def _poster(allow_hosts: tuple[str, ...]) -> Poster:
    return Poster(allow_hosts=allow_hosts, timeout_s=TIMEOUT_S)


async def _line(request: Request) -> anyio.CapacityLimiter:
    state = request.app.state
    if not hasattr(state, "callback_tests"):
        state.callback_tests = anyio.CapacityLimiter(AT_A_TIME)
    line: anyio.CapacityLimiter = state.callback_tests
    return line


@router.post(
    "/v1/callbacks/test",
    tags=["callbacks"],
    summary="Send a test event to a receiver",
    response_model=CallbackTestView,
    responses=errors(*BODY_ERRORS, "callback_refused", "rate_limited", "store_unavailable"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CallbackTestRequest"}}},
        }
    },
)
async def test_callback(
    request: Request, service: Here, tenant: Tenant, line: Annotated[anyio.CapacityLimiter, Depends(_line)]
) -> Response:
    """One signed delivery, now and without repeats, and what came of it. Told from real ones by its type."""
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(CallbackTestRequest, words)
    signed_by = service.settings.callback_secrets(tenant)
    if not signed_by:
        raise Problem("callback_refused", "Callbacks are switched off here: no secret to sign them is set.")
    parse_callback_url(said.url, allow_hosts=service.settings.callback_allow_hosts, pointer="/url")
    bucket = Bucket(
        name="callback-tests", of=tenant, quota=service.settings.callback_tests_per_min, window_s=limits.WINDOW_S
    )
    limits.counted(await run_in_threadpool(service.store.rates.take, [bucket]))
    told = await anyio.to_thread.run_sync(_deliver, service, said.url, signed_by, limiter=line)
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


def _deliver(service: Service, url: str, signed_by: tuple[str, ...]) -> dict[str, Any]:
    message_id, now = f"msg_test_{secrets.token_hex(8)}", time.time()
    data = {"message": "This is a test: no job has changed."}
    body = json.dumps({"type": EVENT, "timestamp": timestamp(now), "data": data})
    began = time.monotonic()
    status, error = None, None
    try:
        answer = _poster(service.settings.callback_allow_hosts).post(
            url, body=body, headers=callbacks.headers(signed_by, message_id, body, now)
        )
    except NotReached as err:
        error = str(err)
    else:
        status = answer.status
        error = None if 200 <= status < 300 else f"HTTP {status}"
    return {
        "id": message_id,
        "delivered": error is None,
        "status": status,
        "error": error,
        "seconds": round(time.monotonic() - began, 3),
    }


@router.get(
    "/v1/callbacks/secrets",
    tags=["callbacks"],
    summary="Read the secrets that your callbacks are signed with",
    response_model=SecretsView,
    responses=errors("callback_refused", "store_unavailable"),
)
async def get_secrets(service: Here, caller: Who) -> Response:
    """Needs a key with the scope admin. Two while the operator changes them: believe either."""
    caller.require(Scope.ADMIN)
    found = service.settings.callback_secrets(TenantId(caller.tenant))
    if not found:
        raise Problem("callback_refused", "Callbacks are switched off here: no secret to sign them is set.")
    return JSONResponse({"secrets": list(found)}, headers={"Cache-Control": "no-store"})
