"""A finished delivery as a BagIt bag (RFC 8493), made and read back by the Library of Congress' ``bagit``.

The bag is made beside its place under another name and moved there when it is whole. What goes in is what the report
names, and is held against the report's checksums; the report and the PREMIS record go with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.delivery import premis
from jobs.delivery.errors import NotDelivered, NotInstalled
from jobs.delivery.premis import Origin, Signed
from jobs.delivery.rows import DONE, OutputFile, Row, Status
from photomend.delivery import report
from photomend.files import NO_LINKS, FileRefused, sha256_of

#: Of files that are wrong, so many are named.
_NAMED = 5
#: Signs a picture of a row into a file of the bag; see ``credentials``.
Sign = Callable[[Row, OutputFile, Path, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What went into a bag."""

    files: int
    bytes: int
    statuses: Mapping[str, int]  #: of the report's rows
    signed: int = 0


@dataclass(kw_only=True)
class Packing:
    """How a bag is made."""

    out: Path  #: the results' folder, with its report
    place: Path  #: of the bag
    info: Mapping[str, str]  #: for ``bag-info.txt``
    program: str
    version: str
    copies: bool = False  #: files of their own, in place of hard links
    incomplete: bool = False  #: even though not every line was worked on
    sign: Sign | None = None
    _signed: dict[str, Signed] = field(default_factory=dict, init=False)

    def __call__(self, on_file: Callable[[], None] = lambda: None) -> Contents:
        """Make the bag and read it back.

        Raises:
            NotDelivered: the report is of an unfinished run, or files are missing or not what it says.
            NotInstalled: ``bagit`` is not there.
            FileRefused: the place is taken, or in the results' folder.
            RowUnreadable, OSError: the report or a file cannot be read, or the bag not be written.
        """
        bagit = _bagit()
        self._check_place()
        statuses = self._statuses()
        with self._staged() as folder:
            self._fill(folder, on_file)
            try:
                bag = bagit.make_bag(str(folder), dict(self.info), checksums=["sha256"])
                self._hold_against_report(bag.payload_entries())
                # Everything is read once more, from the disk.
                bag.validate()
            except bagit.BagError as error:
                raise NotDelivered(f"the bag is not valid: {error}") from error
            total, _, files = bag.info["Payload-Oxum"].partition(".")
        return Contents(files=int(files), bytes=int(total), statuses=statuses, signed=len(self._signed))

    def _check_place(self) -> None:
        if self.place.exists():
            raise FileRefused("output_exists", f"{self.place} exists; name another place for the bag.")
        if self.place.resolve().is_relative_to(self.out.resolve()):
            raise FileRefused("output_in_source", f"The bag must not lie in {self.out}, which it is made of.")

    def _statuses(self) -> dict[str, int]:
        counts = dict.fromkeys((str(status) for status in Status), 0)
        for row in report.read(self.out):
            counts[row.status] += 1
        if counts[Status.CANCELED] and not self.incomplete:
            raise NotDelivered(
                f"{counts[Status.CANCELED]:,} lines of the manifest were not worked on; run the same "
                "`photomend restore` again, or give --incomplete"
            )
        return counts

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A folder that is in the bag's place when everything went well, and gone otherwise."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        folder = self.place.resolve().parent / f".{self.place.name}.{secrets.token_hex(4)}.part"
        folder.mkdir()
        try:
            yield folder
            folder.rename(self.place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _outputs(self) -> Iterator[tuple[Row, OutputFile]]:
        """Every file of the delivery once: two lines of a manifest may have the same result."""
        seen: set[str] = set()
        for row in report.read(self.out):
            for output in row.outputs if row.status in DONE else ():
                if output.key not in seen:
                    seen.add(output.key)
                    yield row, output

    def _fill(self, folder: Path, on_file: Callable[[], None]) -> None:
        missing: list[str] = []
        for row, output in self._outputs():
            source, target = self.out / output.key, folder / output.key
            if not source.is_file():
                missing.append(output.key)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.sign is not None and output.part == "image":
                self._sign_into(row, output, source, target)
            else:
                self._put(source, target)
            on_file()
        _refuse(missing, "missing")
        self._put_report(folder / report.FOLDER)

    def _sign_into(self, row: Row, output: OutputFile, source: Path, target: Path) -> None:
        assert self.sign is not None  # noqa: S101  (asked before)
        if sha256_of(source) != output.sha256:
            _refuse([output.key], "not what the report says")
        self.sign(row, output, source, target)
        self._signed[output.key] = Signed(sha256=sha256_of(target), bytes=target.stat().st_size)

    def _put(self, source: Path, target: Path) -> None:
        if not self.copies:
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
            else:
                return
        shutil.copy2(source, target)

    def _put_report(self, folder: Path) -> None:
        folder.mkdir()
        for name in (report.CSV, report.JSON_LINES, report.PAGE):
            self._put(self.out / report.FOLDER / name, folder / name)
        origin = Origin(
            program=self.program,
            version=self.version,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            signed=self._signed,
        )
        with (folder / report.PREMIS).open("x", encoding="utf-8") as text:
            text.writelines(premis.document(lambda: report.read(self.out), origin))

    def _hold_against_report(self, entries: Mapping[str, Mapping[str, str]]) -> None:
        """What the bag's own manifest says of each file, beside what the report says."""
        wrong = []
        for _, output in self._outputs():
            signed = self._signed.get(output.key)
            expected = signed.sha256 if signed else output.sha256
            if entries.get(f"data/{output.key}", {}).get("sha256") != expected:
                wrong.append(output.key)
        _refuse(wrong, "not what the report says")


def _refuse(names: list[str], what: str) -> None:
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        raise NotDelivered(f"{what}: {', '.join(names[:_NAMED])}{more}")


def _bagit() -> Any:
    try:
        import bagit
    except ImportError as error:
        raise NotInstalled("bags are made by bagit: pip install 'photomend[archive]'") from error
    # It tells of errors by raising them as well.
    logging.getLogger("bagit").addHandler(logging.NullHandler())
    logging.getLogger("bagit").propagate = False
    return bagit
