"""Review of a batch: the items that people should look at, what they decide, and the same once more in another way."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import mimetypes
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import submission, uploads
from api.batch_bodies import BatchView, ItemView
from api.batch_redo import redone
from api.batch_review_bodies import PartQuery, QueueQuery, QueueView, RedoBatchRequest, ReviewSheetQuery
from api.batch_rows import PARTS_A_PAGE, rows_of
from api.batches import FOUND, Id, etag
from api.openapi import header, json_body
from api.openapi import problems as errors
from api.problems import Problem
from api.requests import ReviewRequest
from api.results import SHOWN
from api.schemas import ResultPlace
from api.service import Here, Service, Tenant
from api.submitting import BODY_ERRORS, ETAG, IdempotencyKey
from jobs.batches.model import PART_ROWS, Batch, BatchId
from jobs.batches.review_sheet import SheetWriter
from jobs.batches.reviews import Which, as_note
from jobs.batches.view import batch_view
from jobs.delivery.rows import DONE, Row, to_words
from jobs.errors import ObjectDenied, ObjectError
from jobs.model import Decision, ObjectRef, TenantId

router = APIRouter()

#: Of an item's provenance file.
_MAX_PROVENANCE = 4 << 20
_CSV: dict[str, Any] = {
    "schema": {"type": "string"},
    "example": '"number","source","output","flags","why","decision","by","note","decided_at"\r\n',
}
#: Items of which one look at the log of decisions serves.
_SHEET_ITEMS = 20_000

Number = Annotated[int, Path(ge=1, le=2**40, description="Of the manifest's line, from 1")]


@router.get(
    "/v1/batches/{batch_id}/review",
    tags=["batches"],
    summary="List items that a person should look at",
    response_model=QueueView,
    responses=errors(*FOUND, "invalid_request", "spec_forged", "storage_unavailable"),
)
def get_queue(service: Here, tenant: Tenant, batch_id: Id, query: Annotated[QueueQuery, Query()]) -> Response:
    """Flagged results, and those that were decided, as rows of the report. A page may be short and yet have a next one.

    Also while the batch runs, and as long as its record is there.
    """
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    wanted = service.store.batches.reviews.items(batch.id, Which(query.decision), start=query.cursor or 0)
    items, more = _some(wanted, query.limit)
    rows = [to_words(row) for row in _with_decisions(service, batch, items)]
    return JSONResponse(
        {"items": rows, "counts": dataclasses.asdict(batch.review), "next_cursor": more},
        headers={"Cache-Control": "no-store"},
    )


def _some(items: Iterator[int], limit: int) -> tuple[list[int], int | None]:
    """The first of them, of so many parts as one answer may read, and where the next page begins."""
    found: list[int] = []
    parts: set[int] = set()
    for item in items:
        if len(found) == limit or (item // PART_ROWS not in parts and len(parts) == PARTS_A_PAGE):
            return found, item
        found.append(item)
        parts.add(item // PART_ROWS)
    return found, None


@router.get(
    "/v1/batches/{batch_id}/review.csv",
    tags=["batches"],
    summary="The items that a person should look at, as a sheet",
    response_class=StreamingResponse,
    responses=errors(*FOUND, "invalid_request", "spec_forged", "storage_unavailable")
    | {200: {"description": "CSV with columns for decisions", "content": {"text/csv": _CSV}}},
)
def get_sheet(service: Here, tenant: Tenant, batch_id: Id, query: Annotated[ReviewSheetQuery, Query()]) -> Response:
    """One line for each flagged or decided item: source, result, why, and the latest decision with who and when."""
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    headers = {"Content-Disposition": f'attachment; filename="{batch.id}-review.csv"', "Cache-Control": "no-store"}
    sheet = _sheet(service, batch, Which(query.decision))
    # What cannot be read is a problem now, not a sheet that ends early.
    first = next(sheet)
    return StreamingResponse(itertools.chain([first], sheet), media_type="text/csv; charset=utf-8", headers=headers)


def _sheet(service: Service, batch: Batch, which: Which) -> Iterator[str]:
    stream = io.StringIO(newline="")
    writer = SheetWriter(stream)
    items = service.store.batches.reviews.items(batch.id, which)
    while some := list(itertools.islice(items, _SHEET_ITEMS)):
        for row in _with_decisions(service, batch, some):
            writer.write(row)
            if stream.tell() > 1 << 16:
                yield _taken(stream)
    yield _taken(stream)


def _taken(stream: io.StringIO) -> str:
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text


@router.get(
    "/v1/batches/{batch_id}/items/{number}",
    tags=["batches"],
    summary="Read an item of a batch",
    response_model=ItemView,
    responses=errors(*FOUND, "item_not_found", "invalid_request", "spec_forged", "storage_unavailable"),
)
def get_item(service: Here, tenant: Tenant, batch_id: Id, number: Number) -> Response:
    """Its row with every decision about it, and its faces with their boxes where a provenance file was made."""
    batch, row = _found(service, tenant, batch_id, number)
    words = to_words(row) | _evidence(service, batch, row)
    return JSONResponse(words, headers={"Cache-Control": "no-store"})


@router.post(
    "/v1/batches/{batch_id}/items/{number}/review",
    tags=["batches"],
    summary="Accept or reject a result of a batch",
    response_model=ItemView,
    responses=errors(*BODY_ERRORS, *FOUND, "item_not_found", "illegal_state", "spec_forged", "storage_unavailable"),
    openapi_extra=json_body(ReviewRequest),
)
async def review_item(request: Request, service: Here, tenant: Tenant, batch_id: Id, number: Number) -> Response:
    """Writes down what a person decided. The latest decision counts; all are kept, and told in the report."""
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(ReviewRequest, words)
    return await run_in_threadpool(_review, service, tenant, batch_id, number, said)


def _review(service: Service, tenant: TenantId, batch_id: BatchId, number: int, said: ReviewRequest) -> Response:
    batch, row = _found(service, tenant, batch_id, number)
    _require_result(row)
    review = service.store.batches.reviews.decide(
        batch, number - 1, Decision(said.decision), tenant=tenant, note=said.note, by=said.by,
        blobs=service.blobs, bucket=service.settings.bucket,
    )  # fmt: skip
    if as_note(review) not in row.decisions:
        row = dataclasses.replace(row, decisions=(*row.decisions, as_note(review)))
    return JSONResponse(to_words(row), headers={"Cache-Control": "no-store"})


def _require_result(row: Row) -> None:
    if row.status not in DONE:
        raise Problem("illegal_state", "Only a result that is there can be accepted, rejected or made otherwise.")


@router.get(
    "/v1/batches/{batch_id}/items/{number}/result",
    tags=["batches"],
    status_code=303,
    response_class=RedirectResponse,
    summary="Fetch a file of an item",
    responses=errors(
        *FOUND, "item_not_found", "part_not_found", "invalid_request", "spec_forged", "storage_unavailable"
    )
    | {
        303: {"description": "The file is there", "headers": {"Location": header("Presigned URL", "https://…")}},
        200: {"description": "For Accept: application/json, where the file is", "model": ResultPlace},
    },
)
def get_item_result(
    service: Here,
    tenant: Tenant,
    batch_id: Id,
    number: Number,
    query: Annotated[PartQuery, Query()],
    *,
    accept: Annotated[str | None, Header(description="application/json to be told the URL")] = None,
) -> Response:
    """Redirects to a presigned URL of a part of the result under the output prefix, or of the source (``input``)."""
    batch, row = _found(service, tenant, batch_id, number)
    ref = _source(service, batch, row) if query.part == "input" else _output(batch, row, query.part)
    name = ref.key.rpartition("/")[2]
    guessed = mimetypes.guess_type(ref.key)[0] or "application/octet-stream"
    # A source is shown as a picture or not at all, whatever lies there.
    kind = guessed if guessed in SHOWN or query.part != "input" else "image/jpeg"
    ttl_s = service.settings.presign_ttl_s
    url = service.blobs.presign_get(ref, expires_s=ttl_s, filename=name, content_type=kind)
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if (accept or "").strip().lower() == "application/json":
        place = ResultPlace(url=url, content_type=kind, filename=name, expires_in_s=ttl_s)
        return JSONResponse(place.model_dump(), headers=headers)
    return RedirectResponse(url, status_code=303, headers=headers)


def _source(service: Service, batch: Batch, row: Row) -> ObjectRef:
    ref = ObjectRef.parse(row.source)
    try:
        service.store.tenants.require_readable(batch.tenant, ref, bucket=service.settings.bucket)
    except ObjectDenied as err:
        raise Problem("part_not_found", "The source lies where you may not read any more.") from err
    return ref


def _output(batch: Batch, row: Row, part: str) -> ObjectRef:
    """A file of the result; rows are not signed, so nothing but what lies under the output prefix is handed out."""
    file = next((file for file in row.outputs if file.part == part), None)
    if file is None:
        there = ", ".join(file.part for file in row.outputs) or "no files"
        raise Problem("part_not_found", f"The item has {there}, not {part}.")
    ref = ObjectRef.parse(f"s3://{batch.spec.output.bucket}/{file.key}")
    if not ref.key.startswith(batch.spec.output.key):
        raise Problem("internal")
    return ref


@router.post(
    "/v1/batches/{batch_id}/redo",
    tags=["batches"],
    status_code=202,
    summary="Make results of a batch once more in another way",
    response_model=BatchView,
    responses=errors(
        *BODY_ERRORS, *FOUND, "item_not_found", "illegal_state", "invalid_option", "spec_forged", "quota_exceeded",
        "invalid_idempotency_key", "idempotency_mismatch", "storage_unavailable",
    )
    | {
        202: {
            "description": "The new batch, which names the older one in redo_of",
            "headers": {
                "Location": header("The new batch", "/v1/batches/batch_…"),
                "Idempotent-Replayed": header("There when an earlier redo with this key is answered again", "true"),
                **ETAG,
            },
        }
    },
    openapi_extra=json_body(RedoBatchRequest),
)  # fmt: skip
async def redo_items(
    request: Request, service: Here, tenant: Tenant, batch_id: Id, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new batch of these items. Their new results are called by a version (-v2, -v3 …) and replace nothing."""
    key = submission.idempotency_key(idempotency_key)
    words = await uploads.read_json(request, service.settings.max_json_bytes)
    said = submission.checked(RedoBatchRequest, words)
    batch, replayed = await run_in_threadpool(_redo, service, tenant, batch_id, said, key)
    headers = {"Location": f"/v1/batches/{batch.id}", "ETag": etag(batch)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(batch_view(batch), status_code=202, headers=headers)


def _redo(
    service: Service, tenant: TenantId, batch_id: BatchId, said: RedoBatchRequest, key: str | None
) -> tuple[Batch, bool]:
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    options = {one.number - 1: one.options for one in said.items}
    rows = {row.number - 1: row for row in rows_of(service, batch, sorted(options))}
    for item in options:
        if item not in rows:
            raise Problem("item_not_found")
        _require_result(rows[item])
    made, replayed = redone(service, batch, [(rows[item], options[item]) for item in sorted(options)], key=key)
    # Also of a call that comes again: whoever made the batch may have died before this.
    for item in sorted(options):
        service.store.batches.reviews.decide(
            batch, item, Decision.REJECTED, tenant=tenant, note=f"made otherwise in {made.id}", by=said.by,
            blobs=service.blobs, bucket=service.settings.bucket,
        )  # fmt: skip
    return made, replayed


def _found(service: Service, tenant: TenantId, batch_id: BatchId, number: int) -> tuple[Batch, Row]:
    """The item's row, with the decisions about it."""
    batch = service.store.batches.get_genuine(batch_id, tenant=tenant)
    rows = list(_with_decisions(service, batch, [number - 1] if number <= batch.total else []))
    if not rows:
        raise Problem("item_not_found")
    return batch, rows[0]


def _with_decisions(service: Service, batch: Batch, items: Sequence[int]) -> Iterator[Row]:
    decided = service.store.batches.reviews.of(batch, items, service.blobs, service.settings.bucket)
    for row in rows_of(service, batch, items):
        yield dataclasses.replace(row, decisions=tuple(map(as_note, decided[row.number - 1])))


def _evidence(service: Service, batch: Batch, row: Row) -> dict[str, Any]:
    """Faces, options and size (px) of a result, from its provenance file where there is one."""
    try:
        ref = _output(batch, row, "provenance")
        told = json.loads(service.blobs.get(ref, max_bytes=_MAX_PROVENANCE))
        size = {"width": int(told["output"]["width"]), "height": int(told["output"]["height"])}
        return {"faces": list(told["faces"]), "options": dict(told["options"]), "size": size}
    except (Problem, ObjectError, KeyError, TypeError, ValueError):
        return {"faces": None, "options": None, "size": None}
