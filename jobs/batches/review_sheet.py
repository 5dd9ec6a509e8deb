"""The review queue as a CSV file that people fill in: what to look at, and columns for what they decide.

As every CSV of ours it opens in a spreadsheet without running anything; see ``jobs/delivery/written.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from jobs.delivery.errors import RowUnreadable
from jobs.delivery.rows import Row
from jobs.delivery.written import BYTE_ORDER_MARK, escaped, unescaped
from jobs.model import Decision

COLUMNS = ("number", "source", "output", "flags", "why", "decision", "by", "note", "decided_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One decision of a sheet that was filled in."""

    number: int  #: of the manifest's line, from 1
    decision: Decision
    by: str
    note: str


class SheetWriter:
    """Writes a sheet into a text stream (``newline=""``, UTF-8), the heading first."""

    def __init__(self, stream: TextIO) -> None:
        stream.write(BYTE_ORDER_MARK)
        self._writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        self._writer.writerow(COLUMNS)

    def write(self, row: Row) -> None:
        """One item, with the latest decision about it."""
        latest = row.decisions[-1] if row.decisions else None
        told = (latest.decision, latest.by, latest.note, latest.at) if latest else ("",) * 4
        flags = " ".join(dict.fromkeys(note.code for note in row.review))
        why = "; ".join(f"face {note.face}: {note.reason}" for note in row.review)
        texts = (row.source, row.image.key if row.image else "", flags, why, *told)
        self._writer.writerow([row.number, *map(escaped, texts)])


def read(stream: TextIO) -> Iterator[Line]:
    """The decisions of a sheet; lines without one are passed over.

    Raises:
        RowUnreadable: naming the line.
    """
    reader = csv.DictReader(_without_mark(stream), strict=True)
    if not {"number", "decision"} <= set(reader.fieldnames or ()):
        raise RowUnreadable("not a review sheet: it has no columns number and decision")
    try:
        for words in reader:
            said = (words["decision"] or "").strip().lower()
            if said:
                by, note = (unescaped(words.get(name) or "") for name in ("by", "note"))
                yield Line(number=int(words["number"]), decision=Decision(said), by=by, note=note)
    except (csv.Error, ValueError, TypeError) as error:
        raise RowUnreadable(f"line {reader.line_num}: {error}") from error


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        yield line.removeprefix(BYTE_ORDER_MARK) if place == 0 else line
