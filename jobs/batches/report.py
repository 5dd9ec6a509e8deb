"""The completion report: its parts as the runner writes them, and what its files are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from jobs.batches.model import Batch
from jobs.batches.store import part_ref
from jobs.blobs import ObjectInfo
from jobs.delivery.rows import Row
from jobs.delivery.written import read_json_lines
from jobs.model import ObjectRef

#: The most that a part may have: rows are a few hundred bytes, and those of a crowd some ten thousand.
MAX_PART_BYTES = 256 << 20
CSV, JSON_LINES, MANIFEST, PAGE = "report.csv", "report.jsonl", "manifest.json", "report.html"
#: Zipped: of a million lines it has gigabytes.
PREMIS = "premis.xml.gz"
#: SHA-256 and key of everything that was delivered, as ``sha256sum -c`` reads it.
CHECKSUMS = "manifest-sha256.txt"
#: Names a report's files may be asked for by.
FILES = {"csv": CSV, "jsonl": JSON_LINES, "manifest": MANIFEST, "html": PAGE, "checksums": CHECKSUMS, "premis": PREMIS}
TYPES = {
    CSV: "text/csv",
    JSON_LINES: "application/jsonl",
    MANIFEST: "application/json",
    PAGE: "text/html; charset=utf-8",
    CHECKSUMS: "text/plain; charset=utf-8",
    PREMIS: "application/gzip",
}


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
