"""The completion report of a local delivery: CSV, JSON Lines, a page to look at, PREMIS, checksums of the files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jobs.delivery import premis
from jobs.delivery.html import Heading, Sample, page
from jobs.delivery.merging import merged
from jobs.delivery.premis import Origin
from jobs.delivery.rows import Row
from jobs.delivery.sampling import Sampler
from jobs.delivery.summary import Summary
from jobs.delivery.written import CsvWriter, JsonLinesWriter, checksum_lines, read_json_lines

#: Below the results' folder.
FOLDER = Path("photomend-report")
CSV, JSON_LINES, PAGE, CHECKSUMS = "report.csv", "report.jsonl", "report.html", "manifest-sha256.txt"
PREMIS = "premis.xml"


def write(
    rows: Iterable[Row],
    *,
    expected: int,
    out: Path,
    heading: Heading,
    origin: Origin,
    pictures: Callable[[list[Row]], Iterable[Sample]],
) -> Summary:
    """Write the report's files, each whole or not at all; older ones are replaced.

    Args:
        rows: in the manifest's order.
        expected: lines of the manifest.
        out: the results' folder.
        heading: of the page.
        origin: of the PREMIS record.
        pictures: pairs for the contact sheet, of the rows that were chosen for it.

    Raises:
        RowRepeated, RowsMissing, RowsOutOfOrder, RowUnknown: the rows are not the manifest's, each once.
        OSError: the disk or the permissions.
    """
    folder, summary, sampler = out / FOLDER, Summary(), Sampler()
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.part"):
        left.unlink(missing_ok=True)
    with (
        _whole(folder / CSV, newline="") as table,
        _whole(folder / JSON_LINES) as lines,
        _whole(folder / CHECKSUMS) as sums,
    ):
        writers = (CsvWriter(table), JsonLinesWriter(lines))
        for row in merged([rows], expected=expected):
            for writer in writers:
                writer.write(row)
            sums.writelines(checksum_lines(row))
            summary.add(row)
            sampler.add(row)
    with _whole(folder / PREMIS) as text:
        text.writelines(premis.document(lambda: read(out), origin))
    with _whole(folder / PAGE) as text:
        text.writelines(page(heading, summary, pictures(sampler.chosen())))
    return summary


def read(out: Path) -> Iterator[Row]:
    """The rows of the report in a results' folder.

    Raises:
        RowUnreadable: a line is none.
        OSError: there is no report.
    """
    with (out / FOLDER / JSON_LINES).open(encoding="utf-8", newline="\n") as lines:
        yield from read_json_lines(lines)


@contextmanager
def _whole(path: Path, *, newline: str = "\n") -> Iterator[TextIO]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("x", encoding="utf-8", newline=newline) as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
