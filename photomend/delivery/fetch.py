"""A service's delivery brought here: its report and everything that this names, each file verified as it comes.

What is here already and has the report's checksum is not fetched again, so that the same call goes on after a stop.
Whoever fetches needs to read the bucket that was delivered to; nothing is written there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from jobs.batches.assembly import FORMAT
from jobs.batches.report import CHECKSUMS, MANIFEST
from jobs.delivery.errors import NotDelivered
from jobs.delivery.rows import DONE, Row
from jobs.errors import InvalidRequest, ObjectMissing
from jobs.model import ObjectRef
from photomend.delivery import report
from photomend.files import sha256_of, write_whole

#: Of a report's file: a million rows have about one gigabyte.
MAX_REPORT_BYTES = 8 << 30
MAX_MANIFEST_BYTES = 16 << 20
#: A source has no size in the report; nothing larger was taken as an input.
MAX_SOURCE_BYTES = 8 << 30
#: Files that are fetched at a time.
AT_ONCE = 8
#: Of the report's files, those that go into a bag.
_WANTED = (report.CSV, report.JSON_LINES, report.PAGE, CHECKSUMS)


class Objects(Protocol):
    """The part of the object storage that fetching needs."""

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is here now."""

    rows: int
    files: int  #: of the delivery, without the report's
    new: int  #: of these, fetched by this call


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Brings one batch's delivery into a folder, laid out as ``photomend restore --report`` lays out its own."""

    blobs: Objects
    place: ObjectRef  #: the report's folder; the key ends in a slash
    out: Path
    sources: Path | None = None  #: where sources are to go as well, as BUCKET/KEY

    def __call__(
        self, *, on_total: Callable[[int], None] = lambda _: None, on_file: Callable[[], None] = lambda: None
    ) -> Fetched:
        """Fetch and verify.

        Raises:
            NotDelivered: there is no finished report of every line, or a file is missing or not what it says.
            StorageUnavailable, ObjectDenied: the storage.
            RowUnreadable, OSError: the report cannot be read, or a file not be written.
        """
        self._fetch_report()
        rows = 0
        wanted: dict[Path, tuple[ObjectRef, str, int]] = {}
        for row in report.read(self.out):
            rows += 1
            wanted.update(self._outputs(row))
            if self.sources is not None and row.status in DONE:
                wanted.update(self._source(row))

        on_total(len(wanted))

        def bring(target: Path) -> bool:
            is_new = self._bring(target, *wanted[target])
            on_file()
            return is_new

        with ThreadPoolExecutor(AT_ONCE) as pool:
            new = sum(pool.map(bring, wanted))
        return Fetched(rows=rows, files=len(wanted), new=new)

    def _fetch_report(self) -> None:
        words = self._manifest()
        folder = self.out / report.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        known = {PurePosixPath(one["key"]).name: one for one in words["results"]}
        for name in _WANTED:
            if name not in known:
                raise NotDelivered(f"the report has no {name}")
            data = self._get(self._beside(name), max_bytes=MAX_REPORT_BYTES)
            if hashlib.sha256(data).hexdigest() != known[name]["sha256"]:
                raise NotDelivered(f"{name} is not what {MANIFEST} says; it may just have been made anew: try again")
            write_whole(data, folder / name, overwrite=True)

    def _manifest(self) -> dict[str, Any]:
        ref = self._beside(MANIFEST)
        try:
            words = json.loads(self._get(ref, max_bytes=MAX_MANIFEST_BYTES))
            is_ours, scope = words["format"] == FORMAT, words["scope"]
        except (ValueError, KeyError, TypeError) as error:
            raise NotDelivered(f"{ref.uri} is no manifest of a report") from error
        if not is_ours:
            raise NotDelivered(f"{ref.uri} is of another form, {words['format']!r}")
        if scope != "all":
            raise NotDelivered("the report has the failed lines alone; submit the batch with --report all for a bag")
        return dict(words)

    def _outputs(self, row: Row) -> Iterator[tuple[Path, tuple[ObjectRef, str, int]]]:
        for output in row.outputs if row.status in DONE else ():
            ref = ObjectRef(bucket=self.place.bucket, key=output.key)
            yield _inside(self.out, output.key), (ref, output.sha256, output.bytes)

    def _source(self, row: Row) -> Iterator[tuple[Path, tuple[ObjectRef, str, int]]]:
        assert self.sources is not None  # noqa: S101  (asked before)
        try:
            ref = ObjectRef.parse(row.source)
        except InvalidRequest as error:
            raise NotDelivered(f"line {row.number} of the report names no source: {row.source}") from error
        if row.source_sha256 is not None:
            yield _inside(self.sources, f"{ref.bucket}/{ref.key}"), (ref, row.source_sha256, MAX_SOURCE_BYTES)

    def _bring(self, target: Path, ref: ObjectRef, sha256: str, most: int) -> bool:
        """Whether it had to be fetched."""
        if target.is_file() and sha256_of(target) == sha256:
            return False
        data = self._get(ref, max_bytes=most)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise NotDelivered(f"{ref.uri} is not what the report says")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(data, target, overwrite=True)
        return True

    def _beside(self, name: str) -> ObjectRef:
        return ObjectRef(bucket=self.place.bucket, key=f"{self.place.key}{name}")

    def _get(self, ref: ObjectRef, *, max_bytes: int) -> bytes:
        try:
            return self.blobs.get(ref, max_bytes=max_bytes)
        except ObjectMissing as error:
            raise NotDelivered(f"{ref.uri} is not there") from error


def place_of(uri: str) -> ObjectRef:
    """A report's folder, or a file in it, as its folder.

    Raises:
        InvalidRequest: it is no address of an object.
    """
    ref = ObjectRef.parse(uri if not uri.endswith("/") else f"{uri}x")
    folder = PurePosixPath(ref.key)
    if uri.endswith("/") or folder.suffix:
        folder = folder.parent
    return ObjectRef(bucket=ref.bucket, key="" if str(folder) == "." else f"{folder}/")


def _inside(folder: Path, key: str) -> Path:
    """Where a key lies below a folder, and never outside of it, whatever a report says."""
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\0" in key:
        raise NotDelivered(f"the report names a file outside of the delivery: {key!r}")
    return folder.joinpath(*parts)
