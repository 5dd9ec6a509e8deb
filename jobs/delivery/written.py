"""Rows as files: JSON Lines for programs and CSV for spreadsheets, both written and read one row at a time.

CSV is safe to open in a spreadsheet: every cell is quoted, so that no separator of another country's starts a new one,
and text that a spreadsheet would take for a formula gets an apostrophe in front, which reading takes off again.
Source: OWASP, "CSV Injection". Lists are compact JSON in their cells; an empty cell is a value that is not known.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from jobs.delivery.errors import RowUnreadable
from jobs.delivery.rows import COLUMNS, DONE, Row, from_words, to_words

#: Spreadsheets take a CSV file for UTF-8 only if it begins with this.
BYTE_ORDER_MARK = "\ufeff"
#: What makes a formula of a cell, in any width of writing; ``unicodedata`` makes the wide ones narrow.
_FORMULA = ("=", "+", "-", "@", "|", "%")
_APOSTROPHE = "'"
_JSON_COLUMNS = frozenset({"outputs", "face_notes", "review", "warnings", "weights", "decisions"})
_INT_COLUMNS = frozenset({"number", "faces_found", "faces_restored", "faces_skipped"})
#: The largest cell that is read: 1,000 faces with their reasons are a tenth of it.
_CELL_CHARACTERS = 4_000_000


class CsvWriter:
    """Writes rows into a text stream (``newline=""``, UTF-8), the heading first."""

    def __init__(self, stream: TextIO) -> None:
        stream.write(BYTE_ORDER_MARK)
        self._writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        self._writer.writerow(COLUMNS)

    def write(self, row: Row) -> None:
        words = to_words(row)
        self._writer.writerow([_cell(name, words[name]) for name in COLUMNS])


class JsonLinesWriter:
    """Writes rows into a text stream (UTF-8), a JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: Row) -> None:
        self._stream.write(json_line(row))


def json_line(row: Row) -> str:
    """A row as its line, with the line's end."""
    return json.dumps(to_words(row), ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def checksum_lines(row: Row) -> Iterator[str]:
    """Of a row's files, as ``sha256sum --check`` reads them where the keys begin."""
    if row.status not in DONE:
        return
    for output in row.outputs:
        escaped = output.key.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if escaped != output.key else ""
        yield f"{mark}{output.sha256}  {escaped}\n"


def read_json_lines(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a report, from its lines.

    Raises:
        RowUnreadable: naming the line.
    """
    for place, line in enumerate(lines, start=1):
        try:
            yield from_words(json.loads(line))
        except (ValueError, RecursionError, RowUnreadable) as error:
            raise RowUnreadable(f"line {place}: {error}") from error


def read_csv(stream: TextIO) -> Iterator[Row]:
    """The rows of a report, from a stream that was opened with ``newline=""``.

    Raises:
        RowUnreadable: naming the line; or the heading is another one.
    """
    _allow_large_cells()
    reader = csv.reader(_without_mark(stream), strict=True)
    try:
        heading = _heading(next(reader, []))
        for cells in reader:
            yield _row(heading, cells)
    except (csv.Error, ValueError, RecursionError, RowUnreadable) as error:
        raise RowUnreadable(f"line {reader.line_num}: {error}") from error


def escaped(text: str) -> str:
    """Text that no spreadsheet runs; ``unescaped`` gives it back."""
    plain = unicodedata.normalize("NFKC", text).lstrip()
    controls = text.startswith(("\t", "\r", "\n"))
    return _APOSTROPHE + text if controls or plain.startswith(_FORMULA) or text.startswith(_APOSTROPHE) else text


def unescaped(text: str) -> str:
    """The inverse of ``escaped``."""
    return text.removeprefix(_APOSTROPHE)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _JSON_COLUMNS:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    # Never a formula: no number of a row is below 0.
    return escaped(value) if isinstance(value, str) else repr(value)


def _heading(cells: list[str]) -> list[str]:
    if not {"number", "source", "status"} <= set(cells):
        raise RowUnreadable("not the heading of a report")
    return cells


def _row(heading: list[str], cells: list[str]) -> Row:
    if len(cells) != len(heading):
        raise RowUnreadable(f"{len(cells)} cells under a heading of {len(heading)}")
    return from_words({name: _value(name, cell) for name, cell in zip(heading, cells, strict=True)})


def _value(name: str, cell: str) -> Any:
    # An empty source is a key, if a strange one; everything else that is empty is not known.
    if cell == "":
        return "" if name == "source" else None
    if name in _JSON_COLUMNS:
        return json.loads(cell)
    if name in _INT_COLUMNS:
        return int(cell)
    return float(cell) if name == "seconds" else unescaped(cell)


def _without_mark(stream: TextIO) -> Iterator[str]:
    for place, line in enumerate(stream):
        yield line.removeprefix(BYTE_ORDER_MARK) if place == 0 else line


def _allow_large_cells() -> None:
    if csv.field_size_limit() < _CELL_CHARACTERS:
        csv.field_size_limit(_CELL_CHARACTERS)
