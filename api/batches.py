"""Batches: many pictures by one recipe, from a manifest or a prefix to a report."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import events, submission, uploads
from api.batch_bodies import (
    BATCH_PATTERN,
    BatchListQuery,
    BatchPageView,
    BatchRequest,
    BatchView,
    ItemsQuery,
    ItemsView,
    ReportQuery,
)
from api.batch_rows import rows_with_status
from api.events import LastEventId
from api.examples import example_batch
from api.openapi import header, json_body
from api.openapi import problems as errors
from api.problems import Problem
from api.schemas import ResultPlace
from api.service import Here, Service, StillWelcome, Tenant, is_welcome
from api.submitting import BODY_ERRORS, ETAG, IdempotencyKey
from jobs.batches import report
from jobs.batches.manifest import Manifest, ManifestFormat, Prefix
from jobs.batches.model import ENDED, Batch, BatchEvent, BatchId, BatchSpec, is_batch_id, new_batch_id
from jobs.batches.naming import check_template
from jobs.batches.store import report_ref
from jobs.batches.view import batch_view
from jobs.delivery.rows import to_words
from jobs.errors import (
    CallbackRefused,
    IllegalMove,
    InvalidRequest,
    JobNotFound,
    ObjectDenied,
    ObjectMissing,
    StoreUnavailable,
)
from jobs.logs import current_request
from jobs.model import ObjectRef, Priority, TenantId
from jobs.options import JobOptions
from jobs.outcomes import Idempotency
from jobs.targets import parse_callback_url
from jobs.trace_context import current_trace

router = APIRouter()

FOUND = ("batch_not_found", "store_unavailable")


async def _batch_id(
    batch_id: Annotated[str, Path(description="The batch's id", json_schema_extra={"pattern": BATCH_PATTERN})],
) -> BatchId:
    if not is_batch_id(batch_id):
        raise Problem("batch_not_found")
    return BatchId(batch_id)


Id = Annotated[BatchId, Depends(_batch_id)]


@router.post(
    "/v1/batches",
    tags=["batches"],
    status_code=202,
    summary="Mend a delivery of pictures",
    response_model=BatchView,
    responses=errors(
        *BODY_ERRORS, "invalid_option", "callback_refused", "manifest_invalid", "input_denied", "output_denied",
        "invalid_idempotency_key", "idempotency_mismatch", "quota_exceeded", "store_unavailable", "storage_unavailable",
    )
    | {
        202: {
            "description": "The batch is stored and will be done",
            "headers": {
                "Location": header("The batch", "/v1/batches/batch_…"),
                "Idempotent-Replayed": header("There when an earlier submit with this key is answered again", "true"),
                **ETAG,
            },
        }
    },
    openapi_extra=json_body(BatchRequest),
)  # fmt: skip
async def create_batch(
    request: Request, service: Here, tenant: Tenant, idempotency_key: IdempotencyKey = None
) -> Response:
    """Every line of the manifest, or every picture under the prefix, becomes one row of the report in the end."""
    key = submission.idempotency_key(idempotency_key)
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(BatchRequest, words)
    batch, replayed = await run_in_threadpool(_create, service, tenant, said, key)
    request.state.batch_id = batch.id
    headers = {"Location": f"/v1/batches/{batch.id}", "ETag": etag(batch)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(batch_view(batch), status_code=202, headers=headers)


def _create(service: Service, tenant: TenantId, said: BatchRequest, key: str | None) -> tuple[Batch, bool]:
    output = _place(said.output, "/output")
    spec = BatchSpec(
        source=_source(service, tenant, said, output),
        output=output,
        options=JobOptions.from_mapping({"precision": "exact"} | said.options),
        naming=check_template(said.naming),
        report=said.report,
        priority=Priority(said.priority),
        failure_threshold=said.failure_threshold,
        deadline_s=said.deadline_s,
        callback_url=None if said.callback is None else _callback_url(service, said.callback.url),
        callback_events=tuple(e for e in BatchEvent if said.callback is None or str(e) in said.callback.events),
        metadata=said.metadata,
        dry_run=said.dry_run,
        trace=current_trace(),
    )
    try:
        service.store.tenants.require_writable(tenant, output, bucket=service.settings.bucket)
    except ObjectDenied as err:
        raise Problem("output_denied", pointer="/output") from err
    fingerprint = hashlib.sha256(json.dumps(said.model_dump(), sort_keys=True).encode()).hexdigest()
    idempotency = None if key is None else Idempotency(key=key, fingerprint=fingerprint)
    return service.store.batches.create(
        new_batch_id(), tenant, spec, idempotency=idempotency, request_id=current_request()
    )


def _callback_url(service: Service, url: str) -> str:
    if service.settings.callback_secret is None:
        raise CallbackRefused("callbacks are switched off here: no secret to sign them is set", pointer="/callback")
    return parse_callback_url(url, allow_hosts=service.settings.callback_allow_hosts).url


def _source(service: Service, tenant: TenantId, said: BatchRequest, output: ObjectRef) -> Manifest | Prefix:
    """What is named, pinned to what it is now, if the tenant may read it."""
    if said.prefix is not None:
        place = _place(said.prefix.uri, "/prefix/uri")
        _require_readable(service, tenant, ObjectRef(bucket=place.bucket, key=f"{place.key}x"), "/prefix/uri")
        apart = place.bucket != output.bucket or not (
            place.key.startswith(output.key) or output.key.startswith(place.key)
        )
        if not apart:
            raise InvalidRequest(
                "output must not lie in or above the sources: masters are kept apart", pointer="/output"
            )
        return Prefix(
            bucket=place.bucket,
            prefix=place.key,
            include=tuple(said.prefix.include),
            exclude=tuple(said.prefix.exclude),
        )
    if said.manifest is None:
        raise AssertionError("this is a bug: the body's model has checked it")
    ref = _object(said.manifest.uri)
    _require_readable(service, tenant, ref, "/manifest/uri")
    try:
        etag = service.blobs.head(ref).etag
    except (ObjectMissing, ObjectDenied) as err:
        raise Problem(
            "manifest_invalid", "There is no manifest that we may read there.", pointer="/manifest/uri"
        ) from err
    if said.manifest.etag is not None and said.manifest.etag.strip('"') != etag:
        detail = "The manifest's ETag is another one now: it was changed."
        raise Problem("manifest_invalid", detail, pointer="/manifest/etag")
    return Manifest(ref=ref, etag=etag, format=ManifestFormat(said.manifest.format))


def _require_readable(service: Service, tenant: TenantId, ref: ObjectRef, pointer: str) -> None:
    try:
        service.store.tenants.require_readable(tenant, ref, bucket=service.settings.bucket)
    except ObjectDenied as err:
        raise Problem("input_denied", pointer=pointer) from err


def _object(uri: str) -> ObjectRef:
    try:
        return ObjectRef.parse(uri)
    except InvalidRequest as err:
        raise InvalidRequest("uri must be like s3://bucket/key", pointer="/manifest/uri") from err


def _place(uri: str, pointer: str) -> ObjectRef:
    """A prefix as a reference whose key ends in a slash, or is empty for a whole bucket."""
    try:
        ref = ObjectRef.parse(f"{uri.rstrip('/')}/x")
    except InvalidRequest as err:
        raise InvalidRequest("a place must be like s3://bucket/folder/", pointer=pointer) from err
    return ObjectRef(bucket=ref.bucket, key=ref.key[:-1])


@router.get(
    "/v1/batches",
    tags=["batches"],
    summary="List batches, newest first",
    response_model=BatchPageView,
    responses=errors("invalid_request", "store_unavailable"),
)
def list_batches(service: Here, tenant: Tenant, query: Annotated[BatchListQuery, Query()]) -> Response:
    """A page of batches; next_cursor leads to the next one and is null on the last."""
    page = service.store.batches.page(tenant, cursor=query.cursor, limit=query.limit)
    return JSONResponse({"batches": [batch_view(b) for b in page.batches], "next_cursor": page.next_cursor})


@router.get(
    "/v1/batches/{batch_id}",
    tags=["batches"],
    summary="Read a batch",
    response_model=BatchView,
    responses=errors(*FOUND) | {200: {"description": "The batch as it is now", "headers": ETAG}},
)
def get_batch(service: Here, tenant: Tenant, batch_id: Id) -> Response:
    """Its state, how many items are what, how fast it goes, and what it was pinned to."""
    return _told(service.store.batches.get(batch_id, tenant=tenant))


def etag(batch: Batch) -> str:
    return f'"{batch.revision}"'


def _told(batch: Batch) -> Response:
    # Rate and what is in flight change without the record: it is not to be kept.
    return JSONResponse(batch_view(batch), headers={"ETag": etag(batch), "Cache-Control": "no-store"})


def _move(call: Callable[[], Batch], detail: str) -> Response:
    try:
        return _told(call())
    except IllegalMove as err:
        raise Problem("illegal_state", detail) from err


_MOVE: dict[int | str, dict[str, Any]] = errors(*FOUND, "illegal_state") | {
    200: {"description": "The batch", "headers": ETAG}
}


@router.post(
    "/v1/batches/{batch_id}/cancel",
    tags=["batches"],
    summary="Cancel a batch",
    response_model=BatchView,
    responses=errors(*FOUND) | {200: {"description": "The batch", "headers": ETAG}},
)
def cancel_batch(service: Here, tenant: Tenant, batch_id: Id) -> Response:
    """Nothing new begins, what is in flight is canceled, and the report tells of every item; an ended one stays."""
    return _told(service.store.batches.cancel(batch_id, tenant=tenant))


@router.post(
    "/v1/batches/{batch_id}/pause",
    tags=["batches"],
    summary="Pause a batch",
    response_model=BatchView,
    responses=_MOVE,
)
def pause_batch(service: Here, tenant: Tenant, batch_id: Id) -> Response:
    """Nothing new begins until it is resumed; what is in flight goes on."""
    detail = "Only a running batch can be paused: wait until it runs."
    return _move(lambda: service.store.batches.pause(batch_id, tenant=tenant), detail)


@router.post(
    "/v1/batches/{batch_id}/resume",
    tags=["batches"],
    summary="Go on with a paused batch",
    response_model=BatchView,
    responses=_MOVE,
)
def resume_batch(service: Here, tenant: Tenant, batch_id: Id) -> Response:
    """Items are begun again."""
    return _move(lambda: service.store.batches.resume(batch_id, tenant=tenant), "Only a paused batch can be resumed.")


@router.post(
    "/v1/batches/{batch_id}/retry-failed",
    tags=["batches"],
    status_code=202,
    summary="Try again what failed",
    response_model=BatchView,
    responses=errors(*FOUND, "illegal_state", "spec_forged")
    | {202: {"description": "The batch, in a new generation", "headers": ETAG}},
)
def retry_failed(service: Here, tenant: Tenant, batch_id: Id) -> Response:
    """Items that failed or were canceled are begun again; the others keep their rows. A new report is made."""
    try:
        batch = service.store.batches.retry_failed(batch_id, tenant=tenant)
    except IllegalMove as err:
        detail = "Only a batch that has ended, with items that failed or were canceled, can try them again."
        raise Problem("illegal_state", detail) from err
    return JSONResponse(batch_view(batch), status_code=202, headers={"ETag": etag(batch)})


@router.get(
    "/v1/batches/{batch_id}/items",
    tags=["batches"],
    summary="List items of a batch",
    response_model=ItemsView,
    responses=errors(*FOUND, "invalid_request", "storage_unavailable"),
)
def get_items(service: Here, tenant: Tenant, batch_id: Id, query: Annotated[ItemsQuery, Query()]) -> Response:
    """Rows of one kind, or jobs in flight, in the manifest's order. A page may be short and yet have a next one."""
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    if query.status == "in_flight":
        first = [item for item in service.store.batches.flight(batch.id) if item >= (query.cursor or 0)]
        jobs = service.store.batches.jobs_of(batch, first[: query.limit])
        items: list[dict[str, Any]] = [
            {
                "number": int(job.item or 0) + 1,
                "source": job.input.public_uri,
                "status": str(job.state),
                "job_id": job.id,
            }
            for job in jobs
            if job is not None
        ]
        more = first[query.limit] if len(first) > query.limit else None
        return JSONResponse({"items": items, "next_cursor": more})
    rows, more = rows_with_status(service, batch, query.status, start=query.cursor or 0, limit=query.limit)
    return JSONResponse({"items": [to_words(row) for row in rows], "next_cursor": more})


@router.get(
    "/v1/batches/{batch_id}/report",
    tags=["batches"],
    status_code=303,
    response_class=RedirectResponse,
    summary="Fetch the completion report",
    responses=errors(*FOUND, "result_not_ready", "spec_forged", "invalid_request")
    | {
        303: {"description": "The file is there", "headers": {"Location": header("Presigned URL", "https://…")}},
        200: {"description": "For Accept: application/json, where the file is", "model": ResultPlace},
    },
)
def get_report(
    service: Here,
    tenant: Tenant,
    batch_id: Id,
    query: Annotated[ReportQuery, Query()],
    accept: Annotated[str | None, Header(description="application/json to be told the URL")] = None,
) -> Response:
    """Redirects to a presigned URL of the report, which also lies under the output prefix."""
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    if batch.state not in ENDED or not batch.is_prepared:
        detail = "The report is made when the batch has ended; one whose manifest could not be used has none."
        raise Problem("result_not_ready", detail, headers={"Retry-After": "5"})
    name, kind = report.FILES[query.file], report.TYPES[report.FILES[query.file]]
    filename = f"{batch.id}-{name}"
    ttl_s = service.settings.presign_ttl_s
    url = service.blobs.presign_get(report_ref(batch, name), expires_s=ttl_s, filename=filename, content_type=kind)
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if (accept or "").strip().lower() == "application/json":
        place = ResultPlace(url=url, content_type=kind, filename=filename, expires_in_s=ttl_s)
        return JSONResponse(place.model_dump(), headers=headers)
    return RedirectResponse(url, status_code=303, headers=headers)


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "progress events, then one end event; each holds the whole batch",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "title": "BatchEvent",
                    "required": ["event", "id", "data"],
                    "properties": {
                        "event": {"type": "string", "enum": ["progress", "end"]},
                        "id": {"type": "string", "pattern": "^[0-9]+$"},
                        "data": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/BatchView"},
                        },
                        "retry": {"type": "string"},
                    },
                },
                "examples": {
                    "progress": {
                        "summary": "The fields of one event: progress",
                        "value": {
                            "event": "progress",
                            "id": "412",
                            "data": json.dumps(example_batch(), ensure_ascii=False),
                        },
                    }
                },
            }
        },
    },
    204: {"description": "Last-Event-ID is the end already: nothing more will come"},
}


@router.get(
    "/v1/batches/{batch_id}/events",
    tags=["batches"],
    response_class=StreamingResponse,
    summary="Watch a batch",
    responses=errors(*FOUND, "invalid_request") | _EVENTS,
)
def get_batch_events(
    request: Request,
    service: Here,
    tenant: Tenant,
    batch_id: Id,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events: progress whenever the batch changes, at most a few a second; end when it has ended."""
    batch = service.store.batches.get(batch_id, tenant=tenant)
    if batch.state in ENDED and batch.revision == last_event_id:
        return Response(status_code=204)
    stream = _stream(service, tenant, batch, last_seen=last_event_id, welcome=partial(is_welcome, request, tenant))
    return StreamingResponse(stream, media_type=events.MEDIA_TYPE, headers=events.HEADERS)


async def _stream(
    service: Service, tenant: TenantId, batch: Batch, *, last_seen: int | None, welcome: StillWelcome
) -> AsyncIterator[str]:
    yield f"retry: {events.RETRY_MS}\n\n"
    clock, settings = asyncio.get_running_loop().time, service.settings
    told, spoke = last_seen, clock()
    while not service.stopping.is_set():
        if batch.revision != told:
            name = "end" if batch.state in ENDED else "progress"
            words = json.dumps(batch_view(batch), separators=(",", ":"))
            yield f"event: {name}\nid: {batch.revision}\ndata: {words}\n\n"
            told, spoke = batch.revision, clock()
            if batch.state in ENDED:
                return
        elif clock() - spoke >= settings.events_keepalive_s:
            yield ": still here\n\n"
            spoke = clock()
        # A batch changes with every item: slower than a job's events.
        await asyncio.sleep(2 * settings.events_poll_s)
        if not await welcome():
            return
        try:
            batch = await run_in_threadpool(service.store.batches.get, batch.id, tenant=tenant)
        except JobNotFound:
            return
        except StoreUnavailable:
            continue
