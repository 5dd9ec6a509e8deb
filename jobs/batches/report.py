"""The completion report: parts as the runner writes them, and what they are put together to."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, Protocol, TextIO, cast

from jobs.batches.model import Batch
from jobs.batches.reviews import Said, as_note
from jobs.batches.store import part_ref, report_ref
from jobs.blobs import ObjectInfo
from jobs.checksums import SHA256_METADATA
from jobs.delivery.html import Heading, page
from jobs.delivery.merging import merged
from jobs.delivery.rows import DONE, DecisionNote, Row
from jobs.delivery.summary import Summary
from jobs.delivery.written import CsvWriter, JsonLinesWriter, read_json_lines
from jobs.model import ObjectRef
from jobs.view import timestamp

#: The most that a part may have: rows are a few hundred bytes, and those of a crowd some ten thousand.
MAX_PART_BYTES = 256 << 20
#: A report that is smaller is put together in memory.
SPOOL_BYTES = 8 << 20
CSV, JSON_LINES, MANIFEST, PAGE = "report.csv", "report.jsonl", "manifest.json", "report.html"
#: SHA-256 and key of everything that was delivered, as ``sha256sum -c`` reads it.
CHECKSUMS = "manifest-sha256.txt"
#: Names a report's files may be asked for by.
FILES = {"csv": CSV, "jsonl": JSON_LINES, "manifest": MANIFEST, "html": PAGE, "checksums": CHECKSUMS}
TYPES = {
    CSV: "text/csv",
    JSON_LINES: "application/jsonl",
    MANIFEST: "application/json",
    PAGE: "text/html; charset=utf-8",
    CHECKSUMS: "text/plain; charset=utf-8",
}
FORMAT = "photomend-report-1"


class Objects(Protocol):
    """The part of the object storage that a report needs."""

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def put(self, ref: ObjectRef, data: bytes | BinaryIO, *, content_type: str) -> ObjectInfo: ...


def put_part(blobs: Objects, bucket: str, batch: Batch, part: int, rows: Sequence[str]) -> None:
    """Store the rows (JSON) of a part, in order; the same call again stores the same.

    Raises:
        StorageUnavailable: ask again later.
    """
    data = "".join(f"{row}\n" for row in rows).encode()
    blobs.put(part_ref(bucket, batch, part, batch.generation), data, content_type="application/jsonl")


def read_part(blobs: Objects, bucket: str, batch: Batch, part: int, generation: int) -> list[Row]:
    """The rows of a part.

    Raises:
        ObjectError: it cannot be read.
        RowUnreadable: it is none of ours.
    """
    data = blobs.get(part_ref(bucket, batch, part, generation), max_bytes=MAX_PART_BYTES)
    return list(read_json_lines(data.decode().splitlines()))


def put_together(
    blobs: Objects,
    bucket: str,
    batch: Batch,
    generations: Sequence[int],
    *,
    decisions: Iterable[Said] = (),
    on_part: Callable[[], None],
) -> int:
    """Store the report's files under the output prefix, each line of the manifest once; manifest.json is the last.

    ``decisions`` about results stand in their rows; how many there were is the answer. ``on_part`` is called again and
    again, so that a lease may be kept.

    Raises:
        RowsMissing, RowRepeated, RowsOutOfOrder: the parts are not the manifest's lines.
        StorageUnavailable: ask again later; the same call again stores the same.
    """
    notes: dict[int, list[DecisionNote]] = {}
    for said in decisions:
        notes.setdefault(said.item, []).append(as_note(said.review))

    def rows() -> Iterator[Row]:
        for part, generation in enumerate(generations):
            on_part()
            for row in read_part(blobs, bucket, batch, part, generation):
                decided = notes.get(row.number - 1)
                yield dataclasses.replace(row, decisions=tuple(decided)) if decided else row

    summary = Summary()
    with ExitStack() as stack:
        files = {name: stack.enter_context(_spool()) for name in (CSV, JSON_LINES, CHECKSUMS)}
        kept = _write(rows(), batch, files, summary)
        told = []
        for name, file in files.items():
            file.seek(0)
            stored = blobs.put(report_ref(batch, name), file, content_type=TYPES[name])
            on_part()
            told.append(_told(batch, name, stored))
    heading = Heading(
        title=f"Batch {batch.id}",
        source=batch.spec.source_uri,
        output=batch.spec.output.uri,
        made_by="photomend",
        made_at=timestamp(time.time()) or "",
        recipe=batch.spec.options.to_mapping(),
        beside=(CSV, JSON_LINES, CHECKSUMS, MANIFEST),
    )
    text = "".join(page(heading, summary, ()))
    told.append(_told(batch, PAGE, blobs.put(report_ref(batch, PAGE), text.encode(), content_type=TYPES[PAGE])))
    words = {
        "format": FORMAT,
        "batch": batch.id,
        "generation": batch.generation,
        "created_at": timestamp(batch.created_at),
        "lines": batch.total,
        "rows": kept,
        "scope": batch.spec.report,
        "counts": {
            "succeeded": batch.counts.succeeded,
            "skipped": batch.counts.skipped,
            "failed": batch.counts.failed,
            "canceled": batch.counts.canceled,
        },
        "pins": json.loads(batch.pins.to_json()) if batch.pins else None,
        "options": batch.spec.options.to_mapping(),
        "results": told,
    }
    data = json.dumps(words, ensure_ascii=False, indent=2).encode()
    blobs.put(report_ref(batch, MANIFEST), data, content_type=TYPES[MANIFEST])
    return sum(map(len, notes.values()))


def _told(batch: Batch, name: str, stored: ObjectInfo) -> dict[str, Any]:
    ref = report_ref(batch, name)
    return {
        "key": ref.key,
        "bytes": stored.size,
        "etag": stored.etag,
        "sha256": stored.metadata.get(SHA256_METADATA),
    }


def _write(rows: Iterator[Row], batch: Batch, files: Mapping[str, BinaryIO], summary: Summary) -> int:
    """How many rows were kept; every one was read and counted."""
    kept = 0
    csv_writer, json_writer = CsvWriter(_text(files[CSV])), JsonLinesWriter(_text(files[JSON_LINES]))
    for row in merged([rows], expected=batch.total):
        summary.add(row)
        for output in row.outputs:
            files[CHECKSUMS].write(f"{output.sha256}  {output.key}\n".encode())
        if batch.spec.report == "failed" and row.status in DONE:
            continue
        csv_writer.write(row)
        json_writer.write(row)
        kept += 1
    return kept


def _spool() -> BinaryIO:
    # It is one in all that we use of it; typeshed does not say so.
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(SPOOL_BYTES))


class _Encoded:
    """A text stream over a binary one that is not closed with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(text.encode())
        return len(text)


def _text(file: BinaryIO) -> TextIO:
    return _Encoded(file)  # type: ignore[return-value]
