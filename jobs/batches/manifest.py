"""What a batch works on: a manifest in storage, line by line, or everything under a prefix.

A line that cannot be used is an ``Entry`` with a ``Fault``, never an error: it becomes a row of the report like every
other. Sources are read in pieces, each of the pinned version, so that a manifest of any length costs little memory and
a reader that died is continued from a ``Cursor``.

Sources: Amazon S3 User Guide, "Specifying a manifest" (S3 Batch Operations: ``Bucket,Key[,VersionId]`` without a
header, keys URL-encoded) and "Amazon S3 Inventory" (``manifest.json`` with ``fileSchema`` and gzipped CSV files).
"""

from __future__ import annotations

import csv
import fnmatch
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import unquote_plus

from jobs.blobs import Listed, ObjectInfo
from jobs.errors import InvalidRequest, JobsError, ObjectChanged
from jobs.model import ObjectRef
from jobs.options import JobOptions

#: Longest line that is read; a longer one is a row with a fault.
MAX_LINE = 64 * 1024
#: Bytes asked for at a time.
PIECE = 1 << 20
#: The most that an inventory's ``manifest.json`` may have.
MAX_INVENTORY_JSON = 4 << 20
#: Of a line that cannot be used, so much is shown.
MAX_SHOWN = 200
#: What lies under a prefix and is taken without ``include``: the endings of what the pipeline reads.
PICTURES = ("*.jpg", "*.jpeg", "*.png", "*.tif", "*.tiff", "*.webp", "*.gif", "*.avif")

_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_JSON_FIELDS = frozenset({"source", "version_id", "etag", "sha256", "options", "output"})
#: Columns of a CSV manifest, as S3 Batch Operations and S3 Inventory call them; others are passed over.
COLUMNS = ("Bucket", "Key", "VersionId", "ETag", "Size")


class ManifestInvalid(JobsError):
    """Raised when a manifest as a whole cannot be used: not there, changed, or not of its format."""

    code = "manifest_invalid"
    public = "The batch's manifest cannot be used."


class ManifestFormat(StrEnum):
    """How the lines of a manifest are written."""

    CSV = "csv"  #: S3BatchOperations_CSV_20180820
    INVENTORY = "inventory"  #: S3InventoryReport_CSV_20161130: its manifest.json
    JSONL = "jsonl"  #: one JSON object a line: source, version_id, etag, sha256, options, output


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a line cannot be used."""

    code: str  #: stable, such as ``bad_row``
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest: a picture to mend, or why it is none."""

    source: ObjectRef | None = None
    version_id: str | None = None
    etag: str | None = None
    sha256: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  #: in place of the batch's own
    output: str | None = None  #: name of the result under the output prefix
    fault: Fault | None = None
    line: str = ""  #: of a line with a fault: what stood there, cut

    def to_json(self) -> dict[str, Any]:
        """As it is kept; what is empty is left out."""
        words: dict[str, Any] = {
            "source": self.source and self.source.uri,
            "version_id": self.version_id,
            "etag": self.etag,
            "sha256": self.sha256,
            "options": dict(self.options),
            "output": self.output,
            "fault": self.fault and [self.fault.code, self.fault.detail],
            "line": self.line,
        }
        return {name: value for name, value in words.items() if value}

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Entry:
        source, fault = words.get("source"), words.get("fault")
        return cls(
            source=ObjectRef.parse(source) if source else None,
            version_id=words.get("version_id"),
            etag=words.get("etag"),
            sha256=words.get("sha256"),
            options=words.get("options", {}),
            output=words.get("output"),
            fault=Fault(code=fault[0], detail=fault[1]) if fault else None,
            line=words.get("line", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the next line begins."""

    file: int = 0  #: of an inventory's files
    offset: int = 0  #: bytes from its beginning, unzipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest in storage, pinned to the version that was submitted."""

    ref: ObjectRef
    etag: str
    format: ManifestFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Everything under ``s3://bucket/prefix``; patterns as in shells, on the rest of the key, whatever its case."""

    bucket: str
    prefix: str
    include: tuple[str, ...] = ()  #: empty = pictures by their endings
    exclude: tuple[str, ...] = ()


class Reads(Protocol):
    """The part of the object storage that a reader needs."""

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo: ...
    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes: ...
    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]: ...


Line = tuple[Entry, Cursor]  #: an entry, and where the one after it begins
_Parse = Callable[[str], Entry]


def read(blobs: Reads, manifest: Manifest, *, after: Cursor | None = None) -> Iterator[Line]:
    """The entries of a manifest from ``after`` on; blank lines are none.

    Raises:
        ManifestInvalid: it changed since it was pinned, or is not of its format.
        ObjectMissing, ObjectDenied, StorageUnavailable: see ``BlobStore.head``.
    """
    try:
        if manifest.format is ManifestFormat.INVENTORY:
            yield from _inventory(blobs, manifest, after or Cursor())
        else:
            parse = parse_json if manifest.format is ManifestFormat.JSONL else parse_csv
            offset = (after or Cursor()).offset
            pieces = _pieces(blobs, manifest.ref, manifest.etag, offset)
            for entry, end in _entries(pieces, parse, offset):
                yield entry, Cursor(offset=end)
    except ObjectChanged as err:
        raise ManifestInvalid(f"{manifest.ref.uri} is not the version any more that was submitted: {err}") from err


def walk(blobs: Reads, prefix: Prefix) -> Iterator[Entry]:
    """Everything under a prefix that its patterns take, in the storage's order, pinned by ETag.

    Raises:
        ObjectMissing, ObjectDenied, StorageUnavailable: see ``BlobStore.head``.
    """
    takes = matcher(prefix)
    for line in blobs.list(prefix.bucket, prefix=prefix.prefix):
        key = line.ref.key
        if key.endswith("/") or not takes(key.removeprefix(prefix.prefix).lstrip("/")):
            continue
        yield _pinned(key, prefix.bucket, {"etag": line.etag or None})


def matcher(prefix: Prefix) -> Callable[[str], bool]:
    """Whether the rest of a key is taken; a star matches slashes too."""
    include = [re.compile(fnmatch.translate(p.lower())) for p in (prefix.include or PICTURES)]
    exclude = [re.compile(fnmatch.translate(p.lower())) for p in prefix.exclude]

    def takes(rest: str) -> bool:
        name = rest.lower()
        return any(p.match(name) for p in include) and not any(p.match(name) for p in exclude)

    return takes


def parse_csv(line: str, columns: Sequence[str] = ()) -> Entry:
    """One line as S3 Batch Operations writes it; ``columns`` are those of an inventory."""
    try:
        values = next(csv.reader([line], strict=True))
    except csv.Error as err:
        return _bad(line, f"The line is not CSV: {err}.")
    named = columns or COLUMNS[: max(2, min(3, len(values)))]
    if len(values) != len(named):
        return _bad(line, f"The line has {len(values)} columns, expected are {','.join(named)}.")
    found = {name: value for name, value in zip(named, values, strict=True) if value}
    bucket, key = found.get("Bucket", ""), found.get("Key", "")
    try:
        # In this form a space may be a plus, and a plus is %2B.
        key = unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        return _bad(line, "The key is not URL-encoded UTF-8.")
    return _pinned(key, bucket, {"version_id": found.get("VersionId"), "etag": _etag(found.get("ETag"))}, line=line)


def parse_json(line: str) -> Entry:
    """One line of a JSONL manifest."""
    try:
        words = json.loads(line)
    except ValueError as err:
        return _bad(line, f"The line is not JSON: {err}.")
    fault = _json_fault(words)
    if fault is not None:
        return _bad(line, fault)
    options, sha256 = words.get("options", {}), words.get("sha256")
    try:
        JobOptions.from_mapping(options if isinstance(options, dict) else {"options": options})
        source = ObjectRef.parse(words["source"])
    except InvalidRequest as err:
        return _bad(line, f"{err.detail[:1].upper()}{err.detail[1:]}.", code=err.code)
    return Entry(
        source=source,
        version_id=words.get("version_id"),
        etag=_etag(words.get("etag")),
        sha256=sha256,
        options=options,
        output=words.get("output"),
    )


def _json_fault(words: Any) -> str | None:
    """What is wrong with the members of a line, if something is; their values are looked at later."""
    if not isinstance(words, dict) or not isinstance(words.get("source"), str):
        return 'The line is no object with a "source" such as "s3://bucket/key".'
    strange = sorted(set(words) - _JSON_FIELDS)
    if strange:
        return f"{strange[0]} is not known here; known are {', '.join(sorted(_JSON_FIELDS))}."
    wrong = next((n for n in ("version_id", "etag", "sha256", "output") if not isinstance(words.get(n, ""), str)), None)
    if wrong:
        return f"{wrong} is no text."
    if not _SHA256.match(words.get("sha256", "0" * 64)):
        return "sha256 is not 64 hexadecimal digits."
    return None


def _pinned(key: str, bucket: str, more: Mapping[str, Any], *, line: str | None = None) -> Entry:
    try:
        return Entry(source=ObjectRef.parse(f"s3://{bucket}/{key}"), **more)
    except InvalidRequest as err:
        return _bad(line if line is not None else key, f"{err.detail[:1].upper()}{err.detail[1:]}.")


def _bad(line: str, detail: str, *, code: str = "bad_row") -> Entry:
    return Entry(fault=Fault(code=code, detail=detail), line=line[:MAX_SHOWN])


def _etag(text: str | None) -> str | None:
    return text.strip('"') if text else None


def _inventory(blobs: Reads, manifest: Manifest, after: Cursor) -> Iterator[Line]:
    words = blobs.get(manifest.ref, max_bytes=MAX_INVENTORY_JSON, if_match=manifest.etag)
    try:
        said = json.loads(words)
        if said["fileFormat"] != "CSV":
            raise ManifestInvalid(f"{manifest.ref.uri}: an inventory in CSV is read, not in {said['fileFormat']}")
        # Named by ARN: arn:aws:s3:::bucket.
        bucket = str(said["destinationBucket"]).rpartition(":")[2]
        columns = [name.strip() for name in said["fileSchema"].split(",")]
        files = [ObjectRef(bucket=bucket, key=str(file["key"])) for file in said["files"]]
    except (ValueError, KeyError, TypeError) as err:
        raise ManifestInvalid(f"{manifest.ref.uri} is no manifest.json of an inventory: {err!r}") from err
    for index in range(after.file, len(files)):
        start = after.offset if index == after.file else 0
        # The files' ETags are what they are now; their MD5 stands in the manifest that is pinned.
        etag = blobs.head(files[index]).etag
        md5 = str(said["files"][index].get("MD5checksum", ""))
        if _MD5.match(etag) and _MD5.match(md5) and etag != md5:
            raise ManifestInvalid(f"{files[index].uri} has another MD5 than {manifest.ref.uri} says")
        pieces = _pieces(blobs, files[index], etag, 0)
        plain = _skipped(_gunzipped(pieces, files[index]), start)
        for entry, end in _entries(plain, lambda line: parse_csv(line, columns), start):
            yield entry, Cursor(file=index, offset=end)


def _pieces(blobs: Reads, ref: ObjectRef, etag: str, start: int) -> Iterator[bytes]:
    """The object's bytes from ``start`` on, each piece of the same version."""
    while True:
        piece = blobs.read_range(ref, start=start, length=PIECE, if_match=etag)
        if not piece:
            return
        yield piece
        start += len(piece)
        if len(piece) < PIECE:
            return


def _gunzipped(pieces: Iterator[bytes], ref: ObjectRef) -> Iterator[bytes]:
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for piece in pieces:
            data = piece
            while data:
                # Bounded: a small file may unzip to more than there is memory.
                yield unzip.decompress(data, PIECE)
                data = unzip.unconsumed_tail
                if unzip.eof and unzip.unused_data:
                    data, unzip = unzip.unused_data, zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    except (zlib.error, gzip.BadGzipFile) as err:
        raise ManifestInvalid(f"{ref.uri} is not gzip: {err}") from err
    if not unzip.eof:
        raise ManifestInvalid(f"{ref.uri} ends too early")


def _skipped(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count = max(0, count - len(piece))


def _entries(pieces: Iterator[bytes], parse: _Parse, offset: int) -> Iterator[tuple[Entry, int]]:
    """Each line's entry, and how far the file is read after it."""
    for line, end in lines(pieces, offset=offset):
        if line is None:
            yield _bad("", f"The line has more than {MAX_LINE} bytes."), end
            continue
        try:
            text = line.decode("utf-8-sig" if end == len(line) else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            yield _bad(line[:MAX_SHOWN].decode("utf-8", "replace"), "The line is not UTF-8."), end
            continue
        if text.strip():
            yield parse(text), end


def lines(pieces: Iterator[bytes], *, offset: int = 0) -> Iterator[tuple[bytes | None, int]]:
    """Lines with their ends, and the byte after each; None for one that is longer than ``MAX_LINE``."""
    held, is_long = b"", False
    for piece in pieces:
        parts = piece.split(b"\n")
        for part in parts[:-1]:
            offset += len(part) + 1
            line = held + part + b"\n"
            yield (None if is_long or len(line) > MAX_LINE else line), offset
            held, is_long = b"", False
        held += parts[-1]
        offset += len(parts[-1])
        if len(held) > MAX_LINE:
            held, is_long = b"", True
    if held or is_long:
        yield (None if is_long or len(held) > MAX_LINE else held), offset
