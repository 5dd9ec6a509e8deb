"""The same results once more in another way: a batch of its own, whose manifest we write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from api.problems import Problem
from api.service import Service
from jobs.batches.manifest import Entry, Manifest, ManifestFormat
from jobs.batches.model import PART_ROWS, Batch, BatchSpec, new_batch_id
from jobs.batches.store import BatchNotFound, piece_ref, redo_ref
from jobs.codec import dump_json
from jobs.delivery.rows import Row
from jobs.errors import ObjectMissing
from jobs.logs import current_request
from jobs.options import JobOptions
from jobs.outcomes import Idempotency
from jobs.trace_context import current_trace

_MAX_PIECE_BYTES = 128 << 20
_VERSION = re.compile(r"-v\d+\Z")

Wish = tuple[Row, Mapping[str, Any]]


def redone(service: Service, batch: Batch, wishes: Sequence[Wish], *, key: str | None) -> tuple[Batch, bool]:
    """A batch that makes these rows' results with other options; and whether an earlier call with ``key`` made it.

    Each source is the one that the first batch's manifest named, of the same version and checksum.

    Raises:
        InvalidOption: an option is none.
        Problem: the batch, or its pinned manifest, is gone.
        StorageUnavailable, StoreUnavailable: try again.
    """
    asked = dump_json([[row.number, dict(options)] for row, options in wishes])
    fingerprint = hashlib.sha256(f"{batch.id} {asked}".encode()).hexdigest()
    entries = _entries(service, batch, [row.number - 1 for row, _ in wishes])
    for entry, (_, options) in zip(entries, wishes, strict=True):
        JobOptions.from_mapping(batch.spec.options.to_mapping() | dict(entry.options) | dict(options))
    version = _version(service, batch)
    lines = [
        dump_json(_line(entry, row, options, batch, version))
        for entry, (row, options) in zip(entries, wishes, strict=True)
    ]
    made = new_batch_id()
    ref = redo_ref(service.settings.bucket, batch.tenant, made)
    stored = service.blobs.put(ref, "".join(f"{line}\n" for line in lines).encode(), content_type="application/jsonl")
    spec = BatchSpec(
        source=Manifest(ref=ref, etag=stored.etag, format=ManifestFormat.JSONL),
        output=batch.spec.output,
        options=batch.spec.options,
        priority=batch.spec.priority,
        metadata=batch.spec.metadata,
        redo_of=batch.id,
        trace=current_trace(),
    )
    idempotency = None if key is None else Idempotency(key=key, fingerprint=fingerprint)
    created, replayed = service.store.batches.create(
        made, batch.tenant, spec, idempotency=idempotency, request_id=current_request()
    )
    if replayed:
        service.blobs.delete([ref])
    return created, replayed


def _entries(service: Service, batch: Batch, items: Sequence[int]) -> list[Entry]:
    """Lines of the pinned manifest, from as few of its pieces as have them."""
    pieces: dict[int, list[str]] = {}
    found = []
    for item in items:
        part = item // PART_ROWS
        if part not in pieces:
            try:
                data = service.blobs.get(piece_ref(service.settings.bucket, batch, part), max_bytes=_MAX_PIECE_BYTES)
            except ObjectMissing as err:
                raise Problem("batch_not_found", "The batch's manifest was removed: it ended long ago.") from err
            pieces = {part: data.decode().splitlines()}
        found.append(Entry.from_json(json.loads(pieces[part][item % PART_ROWS])))
    return found


def _version(service: Service, batch: Batch) -> int:
    """One that no other redo of the same first batch has."""
    reviews = service.store.batches.reviews
    first = batch
    while first.spec.redo_of is not None:
        try:
            first = service.store.batches.get_genuine(first.spec.redo_of, tenant=batch.tenant)
        except BatchNotFound:
            break
    version = reviews.next_version(first.id, tenant=batch.tenant)
    if version is None:
        raise Problem("batch_not_found")
    return version


def _line(entry: Entry, row: Row, options: Mapping[str, Any], batch: Batch, version: int) -> dict[str, Any]:
    """A line of the new manifest: the same source, what is wished otherwise, and a name beside the older one's."""
    words = entry.to_json() | {"options": dict(entry.options) | dict(options)}
    if row.source_sha256 is not None:
        words["sha256"] = row.source_sha256
    image = row.image or (row.outputs[0] if row.outputs else None)
    if image is None:
        raise Problem("illegal_state", f"Line {row.number} has no result to make otherwise.")
    path = PurePosixPath(image.key.removeprefix(batch.spec.output.key))
    stem = _VERSION.sub("", path.stem) if batch.spec.redo_of is not None else path.stem
    return words | {"output": str(path.with_name(f"{stem}-v{version}{path.suffix}"))}
