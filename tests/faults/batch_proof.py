"""What must hold of a batch that came through kills: its lines, its report, what was delivered, its masters."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.batches.model import BATCH_METADATA, Batch, BatchState
from jobs.batches.report import CHECKSUMS, CSV, JSON_LINES
from jobs.batches.store import report_ref
from jobs.errors import JobsError
from jobs.model import ObjectRef
from tests.fleet import Fleet, png

SCANS, MENDED = "scans", "mended"
OUTPUT = "delivery/"
PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A line of the manifest, and how it must end."""

    line: dict[str, Any]
    data: bytes | None  #: None: nothing lies there
    ends: frozenset[str]  #: error codes; empty = it must succeed

    @property
    def key(self) -> str:
        return str(self.line["source"]).partition("/")[2].partition("/")[2].partition("/")[2]


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a run came to."""

    lines: int = 0
    seconds: float = 0.0
    strikes: list[dict[str, Any]] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    files: int = 0
    attempts: int = 0  #: epochs of runners that the batch had
    broken: list[str] = field(default_factory=list)


def manifest(pictures: dict[str, bytes], *, bad: int) -> list[Wanted]:
    """Lines for the pictures, and for ``bad`` files of each kind that must fail, spread between them."""
    good = [_wanted(f"good/{name}", data) for name, data in sorted(pictures.items())]
    whole = next(iter(pictures.values()))
    kinds: dict[str, tuple[bytes | None, frozenset[str], dict[str, str]]] = {
        "cut.png": (png(64, 48)[:90], frozenset({"image_truncated", "image_unreadable"}), {}),
        "empty.jpg": (b"", frozenset({"image_unreadable", "image_truncated"}), {}),
        "letter.jpg": (b"Dear aunt, the pictures are in the blue box.", frozenset({"image_unreadable"}), {}),
        "missing.tif": (None, frozenset({"input_not_found"}), {}),
        "changed.jpg": (whole, frozenset({"input_changed"}), {"sha256": "0" * 64}),
        "other.jpg": (whole, frozenset({"input_changed"}), {"etag": "0" * 32}),
    }
    spoilt = [
        _wanted(f"bad/{number:03d}-{name}", data, ends, **words)
        for number in range(bad)
        for name, (data, ends, words) in kinds.items()
    ]
    step = max(1, (len(good) + len(spoilt)) // max(1, len(spoilt)))
    for place, one in enumerate(spoilt):
        good.insert(min(len(good), place * step), one)
    return good


def _wanted(key: str, data: bytes | None, ends: frozenset[str] = frozenset(), **words: str) -> Wanted:
    line: dict[str, Any] = {"source": f"s3://{SCANS}/{key}"}
    if data is not None and not ends:
        line["sha256"] = hashlib.sha256(data).hexdigest()
    return Wanted(line=line | words, data=data, ends=ends)


def made_pictures(count: int) -> dict[str, bytes]:
    """Pictures without people, each another one."""
    return {f"{number:04d}.png": png(24 + number % 7, 16 + number // 7) for number in range(count)}


def shared_pictures(folder: Path) -> dict[str, bytes]:
    """Every photo of the development set."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}


def hashes_of(fleet: Fleet, wanted: list[Wanted]) -> dict[str, str]:
    """Of every master and of the manifest, as the storage has them now."""

    def digest(key: str) -> str:
        data = fleet.blobs.get(ObjectRef(bucket=SCANS, key=key), max_bytes=1 << 30)
        return hashlib.sha256(data).hexdigest()

    return {one.key: digest(one.key) for one in wanted if one.data is not None} | {"list.jsonl": digest("list.jsonl")}


def prove(fleet: Fleet, batch: Batch, wanted: list[Wanted], masters: dict[str, str], found: Findings) -> None:
    """Note in ``found`` what the batch came to, and every promise that is broken."""
    found.attempts = batch.epoch
    if batch.state is not BatchState.SUCCEEDED:
        found.broken.append(f"the batch is {batch.state}: {batch.failure}")
        return
    data = {
        name: fleet.blobs.get(report_ref(batch, name), max_bytes=1 << 30).decode()
        for name in (JSON_LINES, CSV, CHECKSUMS)
    }
    rows = [json.loads(line) for line in data[JSON_LINES].splitlines()]
    found.statuses = dict(Counter(row["status"] for row in rows))
    found.errors = dict(Counter(row["error_code"] for row in rows if row["error_code"]))
    broken = [
        *_lines(rows, wanted),
        *_table(data[CSV], rows),
        *_outputs(fleet, batch, rows, data[CHECKSUMS], found),
        *_kept(fleet, wanted, masters),
        *_left_over(fleet, batch),
    ]
    found.broken.extend(broken)


def _lines(rows: list[dict[str, Any]], wanted: list[Wanted]) -> Iterator[str]:
    """One row for each line, in its place, with its right end."""
    numbers = [row["number"] for row in rows]
    if numbers != list(range(1, len(wanted) + 1)):
        yield f"rows are not the manifest's lines, each once: {len(numbers)} rows for {len(wanted)} lines"
        return
    for row, one in zip(rows, wanted, strict=True):
        if row["source"] != one.line["source"]:
            yield f"line {row['number']} tells of {row['source']}, not of {one.line['source']}"
        if not one.ends and row["status"] != "succeeded":
            yield f"{one.key} is {row['status']} ({row['error_code']}: {row['error']}), though it is a good picture"
        if one.ends and (row["status"], row["error_code"] in one.ends) != ("failed", True):
            yield f"{one.key} is {row['status']} ({row['error_code']}), not one of {sorted(one.ends)}"
        if row["status"] == "succeeded" and row["source_sha256"] != one.line.get("sha256"):
            yield f"the row of {one.key} has another source's checksum"


def _table(text: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    table = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    if [(int(line["number"]), line["status"]) for line in table] != [(row["number"], row["status"]) for row in rows]:
        yield "CSV and JSON Lines tell different things"


def _outputs(
    fleet: Fleet, batch: Batch, rows: list[dict[str, Any]], sums: str, found: Findings
) -> Iterator[str]:  # fmt: skip
    """Every file that a row names is there once and is what the row says; nothing else was delivered."""
    files = [file for row in rows for file in row["outputs"]]
    found.files = len(files)
    keys = [file["key"] for file in files]
    if len(set(keys)) != len(keys):
        yield "a file was delivered twice"
    for file in files:
        ref = ObjectRef(bucket=MENDED, key=file["key"])
        try:
            made, info = fleet.blobs.get(ref, max_bytes=1 << 30), fleet.blobs.head(ref)
        except JobsError as err:
            yield f"{file['key']} is not there: {err}"
            continue
        if (hashlib.sha256(made).hexdigest(), len(made)) != (file["sha256"], file["bytes"]):
            yield f"{file['key']} is not what its row says"
        if info.metadata.get(BATCH_METADATA) != batch.id:
            yield f"{file['key']} does not say whose it is"
    if sums != "".join(f"{file['sha256']}  {file['key']}\n" for file in files):
        yield "manifest-sha256.txt is not the rows' files"
    listed = {one.ref.key for one in fleet.blobs.list(MENDED, prefix=OUTPUT)}
    # A listing may lag, so what is missing in it proves nothing; what is too much does.
    for key in sorted(listed - set(keys)):
        if "/_photomend/" not in key:
            yield f"{key} was delivered, and no row tells of it"


def _kept(fleet: Fleet, wanted: list[Wanted], masters: dict[str, str]) -> Iterator[str]:
    if hashes_of(fleet, wanted) != masters:
        yield "a master is not what it was"
    strange = {one.ref.key for one in fleet.blobs.list(SCANS, prefix="")} - set(masters)
    if strange:
        yield f"something was written among the masters: {sorted(strange)}"


def _left_over(fleet: Fleet, batch: Batch) -> Iterator[str]:
    """Of a batch that ended nothing is in flight, and no row waits in Redis."""
    if fleet.store.batches.flight(batch.id):
        yield "items are in flight though the batch has ended"
    if list(fleet.store.batches.open_rows(batch.id)):
        yield "rows wait in Redis though the batch has ended"
