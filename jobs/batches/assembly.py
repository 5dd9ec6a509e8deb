"""The completion report put together: one pass over its parts makes every file of it but the page, and its figures.

Files of any length lie on disk until they are stored; a report of the same rows has the same bytes, but for the time at
which it was made.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, BinaryIO, TextIO, cast

from jobs.batches import report, sheet
from jobs.batches.model import Batch
from jobs.batches.report import CHECKSUMS, CSV, JSON_LINES, MANIFEST, PAGE, PREMIS, TYPES, Objects
from jobs.batches.reviews import Said, as_note
from jobs.batches.store import report_ref
from jobs.batches.view import cost_view
from jobs.checksums import SHA256_METADATA
from jobs.delivery import premis
from jobs.delivery.html import Heading, Sample, page
from jobs.delivery.merging import merged
from jobs.delivery.rows import DONE, DecisionNote, Row
from jobs.delivery.sampling import Sampler
from jobs.delivery.summary import Summary
from jobs.delivery.written import CsvWriter, JsonLinesWriter, checksum_lines
from jobs.errors import ObjectError, StorageUnavailable
from jobs.view import timestamp

#: A file of a report that is smaller is put together in memory.
SPOOL_BYTES = 8 << 20
FORMAT = "photomend-report-1"
_PROGRAM = "photomend"
#: PREMIS repeats itself a lot: more than this makes it hardly smaller, and takes three times as long.
_ZIP_LEVEL = 4


@dataclass(kw_only=True)
class Assembly:
    """One batch's report in the making."""

    blobs: Objects
    bucket: str  #: of the installation
    batch: Batch
    generations: Sequence[int]  #: of each part
    decisions: Iterable[Said] = ()  #: about results; they stand in their rows
    on_part: Callable[[], None]  #: called again and again, so that a lease may be kept
    _summary: Summary = field(default_factory=Summary, init=False)
    _sampler: Sampler = field(default_factory=Sampler, init=False)
    _made_at: str = field(default_factory=lambda: timestamp(time.time()) or "", init=False)
    _told: list[dict[str, Any]] = field(default_factory=list, init=False)

    def __call__(self) -> int:
        """Store the report's files under the output prefix, each line of the manifest once; manifest.json is the last.

        How many decisions there were is the answer.

        Raises:
            RowsMissing, RowRepeated, RowsOutOfOrder: the parts are not the manifest's lines.
            StorageUnavailable: ask again later; the same call again stores the same.
        """
        notes: dict[int, list[DecisionNote]] = {}
        for said in self.decisions:
            notes.setdefault(said.item, []).append(as_note(said.review))
        with ExitStack() as stack:
            files = {name: stack.enter_context(_spool()) for name in (CSV, JSON_LINES, CHECKSUMS)}
            objects, events = stack.enter_context(_spool()), stack.enter_context(_spool())
            with _zipped(objects) as first, _zipped(events) as second:
                kept = self._write(self._rows(notes), _Files(**_named(files), objects=first, events=second))
            events.seek(0)
            shutil.copyfileobj(events, objects)
            for name, file in (*files.items(), (PREMIS, objects)):
                file.seek(0)
                self._put(name, file)
        self._put(PAGE, "".join(page(self._heading(), self._summary, self._samples())).encode())
        data = json.dumps(self._words(kept), ensure_ascii=False, indent=2).encode()
        self.blobs.put(report_ref(self.batch, MANIFEST), data, content_type=TYPES[MANIFEST])
        return sum(map(len, notes.values()))

    def _rows(self, notes: dict[int, list[DecisionNote]]) -> Iterator[Row]:
        for part, generation in enumerate(self.generations):
            self.on_part()
            for row in report.read_part(self.blobs, self.bucket, self.batch, part, generation):
                decided = notes.get(row.number - 1)
                yield dataclasses.replace(row, decisions=tuple(decided)) if decided else row

    def _write(self, rows: Iterator[Row], files: _Files) -> int:
        """How many rows were kept; every one was read and counted."""
        kept, total = 0, self.batch.total
        record = premis.Record(premis.Origin(program=_PROGRAM, version=_version(), made_at=self._made_at))
        files.objects.write(record.opening)
        for row in merged([rows], expected=total):
            self._summary.add(row)
            if sheet.is_drawn(row.number - 1, total):
                self._sampler.add(row)
            files.checksums.writelines(checksum_lines(row))
            files.objects.writelines(record.objects(row))
            files.events.writelines(record.events(row))
            if self.batch.spec.report == "all" or row.status not in DONE:
                files.write(row)
                kept += 1
        files.events.writelines(record.closing())
        return kept

    def _put(self, name: str, data: bytes | BinaryIO) -> None:
        ref = report_ref(self.batch, name)
        stored = self.blobs.put(ref, data, content_type=TYPES[name])
        self.on_part()
        sha256 = stored.metadata.get(SHA256_METADATA)
        self._told.append({"key": ref.key, "bytes": stored.size, "etag": stored.etag, "sha256": sha256})

    def _heading(self) -> Heading:
        batch = self.batch
        ended_at = batch.completed_at or time.time()
        elapsed_s = None if batch.started_at is None else max(0.0, ended_at - batch.started_at)
        cost = cost_view(batch.price, batch.gpu_s)
        return Heading(
            title=str(batch.id),
            source=batch.spec.source_uri,
            output=batch.spec.output.uri,
            made_by=f"{_PROGRAM} {_version()}",
            made_at=self._made_at,
            recipe=batch.spec.options.to_mapping(),
            elapsed_s=elapsed_s,
            cost=None if cost is None else f"{cost['amount']:,.2f} {cost['currency']}",
            beside=(CSV, JSON_LINES, CHECKSUMS, PREMIS, MANIFEST),
        )

    def _samples(self) -> Iterator[Sample]:
        """Pairs of small copies; a line whose are not there, as after an earlier batch, is left out."""
        for row in self._sampler.chosen():
            try:
                before, after = (self._small_copy(row, half) for half in sheet.HALVES)
            except StorageUnavailable:
                raise
            except ObjectError:
                continue
            yield Sample(row=row, before=before, after=after)

    def _small_copy(self, row: Row, half: sheet.Half) -> bytes:
        ref = sheet.copy_ref(self.bucket, self.batch, row.number - 1, half)
        return self.blobs.get(ref, max_bytes=sheet.MAX_BYTES)

    def _words(self, kept: int) -> dict[str, Any]:
        batch, counts = self.batch, self.batch.counts
        return {
            "format": FORMAT,
            "batch": batch.id,
            "generation": batch.generation,
            "created_at": timestamp(batch.created_at),
            "lines": batch.total,
            "rows": kept,
            "scope": batch.spec.report,
            "counts": dataclasses.asdict(counts),
            "gpu_s": round(batch.gpu_s, 3),
            "cost": cost_view(batch.price, batch.gpu_s),
            "pins": json.loads(batch.pins.to_json()) if batch.pins else None,
            "options": batch.spec.options.to_mapping(),
            "output": batch.spec.output.uri,
            "results": self._told,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What rows are written into."""

    table: CsvWriter
    lines: JsonLinesWriter
    checksums: TextIO
    objects: TextIO  #: of PREMIS
    events: TextIO  #: of PREMIS

    def write(self, row: Row) -> None:
        self.table.write(row)
        self.lines.write(row)


def _named(files: dict[str, BinaryIO]) -> dict[str, Any]:
    return {
        "table": CsvWriter(_text(files[CSV])),
        "lines": JsonLinesWriter(_text(files[JSON_LINES])),
        "checksums": _text(files[CHECKSUMS]),
    }


def _spool() -> BinaryIO:
    # It is one in all that we use of it; typeshed does not say so.
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(SPOOL_BYTES))


def _zipped(file: BinaryIO) -> TextIO:
    """A text stream into it; closed, it is a whole gzip member, behind which another may follow (RFC 1952, 2.2)."""
    zipped = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_ZIP_LEVEL, mtime=0, filename="")
    return io.TextIOWrapper(cast("BinaryIO", zipped), encoding="utf-8", newline="\n")


class _Encoded:
    """A text stream over a binary one that is not closed with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(text.encode())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def _text(file: BinaryIO) -> TextIO:
    return _Encoded(file)  # type: ignore[return-value]


def _version() -> str:
    try:
        return metadata.version(_PROGRAM)
    except metadata.PackageNotFoundError:
        return "source"
