"""What a local delivery works on: the lines of a manifest file, or the pictures of the folder; each is one entry.

A line that cannot be used is an entry with a fault, so that the report accounts for it. Sources and names are paths
below their folders, with ``/``. Three forms are told apart by their first line: JSON Lines (``{"source": "1969/a.tif",
"sha256": "…", "options": {…}, "output": "name"}``, the words of the service's manifests), CSV with a heading that has
``source``, and the lines of ``sha256sum`` or of a bag's ``manifest-sha256.txt``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from jobs.delivery.errors import ManifestUnreadable
from jobs.errors import InvalidRequest
from jobs.options import JobOptions
from photomend.files import Input, find_inputs, with_twins_marked

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
#: A backslash in front tells that the name has some of its characters escaped.
_SUM = re.compile(r"(?P<escaped>\\?)(?P<sha256>[0-9a-fA-F]{64}) [ *]?(?P<source>.+)\Z")
_ESCAPED = {r"\\": "\\", r"\n": "\n", r"\r": "\r"}
_WORDS = frozenset({"source", "sha256", "options", "output"})
#: Of a line that cannot be used, so much is shown.
_SHOWN = 200
#: The fault of a line that cannot be used, as the service calls it.
BAD_ROW = "bad_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the manifest."""

    number: int  #: from 1
    source: str  #: below the folder; of a line that cannot be used, what stood there
    occurrence: int = 1  #: of this source, from 1: a manifest may name it more than once
    input: Input | None = None
    options: JobOptions | None = None  #: in place of the delivery's own
    fault: tuple[str, str] | None = None  #: code, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What a line says, before it is held against anything."""

    source: str
    sha256: str | None = None
    options: Mapping[str, Any] | None = None
    output: str | None = None


class _BadLine(Exception):
    """Raised when a line cannot be used; the message is a sentence."""


def of_folder(folder: Path, *, recursive: bool) -> list[Entry]:
    """Every picture of the folder, by name.

    Raises:
        FileRefused: there is no such folder.
    """
    inputs = find_inputs([folder], recursive=recursive, without=None)
    entries = []
    for number, one in enumerate(inputs, start=1):
        name = one.path.relative_to(folder).as_posix()
        if name == _readable(name):
            entries.append(Entry(number=number, source=name, input=one))
        else:
            fault = (BAD_ROW, "The file's name is no valid UTF-8, so no report can name it; rename the file.")
            entries.append(Entry(number=number, source=_readable(name), fault=fault))
    return entries


def of_file(path: Path, *, folder: Path, options: JobOptions) -> list[Entry]:
    """The lines of a manifest, in its order; blank lines are none.

    Args:
        path: the manifest.
        folder: that its sources lie in.
        options: of the delivery, which a line's own are laid over.

    Raises:
        ManifestUnreadable: it is no manifest.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestUnreadable(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    seen: Counter[str] = Counter()
    entries = []
    for number, parsed in enumerate(_lines(text, path), start=1):
        entry = _entry(number, parsed, folder=folder, options=options)
        seen[entry.source] += 1
        entries.append(replace(entry, occurrence=seen[entry.source]))
    return _with_twins(entries)


def _lines(text: str, path: Path) -> Iterator[_Line | tuple[str, str]]:
    """What each line says, or its text and why it cannot be used."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if _SUM.match(first.strip()):
        return _each(text, _sum_line)
    if first.lstrip().startswith("{"):
        return _each(text, _json_line)
    if first:
        return _table(text, path)
    raise ManifestUnreadable(f"{path} has no lines")


def _each(text: str, parse: Callable[[str], _Line]) -> Iterator[_Line | tuple[str, str]]:
    # Not splitlines(): a name may hold other separators, such as U+2028.
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            yield parse(line.strip("\r"))
        except _BadLine as error:
            yield line.strip("\r"), str(error)


def _json_line(text: str) -> _Line:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadLine(f"The line is not JSON: {error}.") from error
    if not isinstance(words, dict) or not isinstance(words.get("source"), str):
        raise _BadLine('The line is no object with a "source".')
    strange = sorted(set(words) - _WORDS)
    if strange:
        raise _BadLine(f"{strange[0]} is not known here; known are {', '.join(sorted(_WORDS))}.")
    texts = [words.get(name) for name in ("sha256", "output")]
    options = words.get("options")
    if not all(isinstance(text, str | None) for text in texts) or not isinstance(options, dict | None):
        raise _BadLine("sha256 and output must be text, options an object.")
    return _Line(source=words["source"], sha256=texts[0], output=texts[1], options=options)


def _sum_line(text: str) -> _Line:
    match = _SUM.match(text)
    if match is None:
        raise _BadLine("The line is no checksum with a name.")
    name = match["source"]
    if match["escaped"]:
        name = re.sub(r"\\[\\nr]", lambda found: _ESCAPED[found[0]], name)
    return _Line(source=name.removeprefix("./"), sha256=match["sha256"].lower())


def _table(text: str, path: Path) -> Iterator[_Line | tuple[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading = [name.strip().lower() for name in next(reader)]
    if "source" not in heading:
        raise ManifestUnreadable(
            f"{path} is no manifest: its first line is no JSON object, no checksum, and no CSV heading with a source"
        )
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _table_line(heading, cells)
    except csv.Error as error:
        # What follows a broken quote cannot be told apart into lines.
        raise ManifestUnreadable(f"{path}, line {reader.line_num}: {error}") from error


def _table_line(heading: list[str], cells: list[str]) -> _Line | tuple[str, str]:
    words = dict(zip(heading, cells, strict=False))
    if len(cells) != len(heading):
        return words.get("source", ""), f"The line has {len(cells)} cells under a heading of {len(heading)}."
    return _Line(source=words["source"], sha256=words.get("sha256") or None, output=words.get("output") or None)


def _entry(number: int, parsed: _Line | tuple[str, str], *, folder: Path, options: JobOptions) -> Entry:
    if isinstance(parsed, tuple):
        return Entry(number=number, source=_readable(parsed[0][:_SHOWN]), fault=(BAD_ROW, parsed[1]))
    source = _readable(parsed.source)
    try:
        return Entry(number=number, source=source, input=_input(parsed, folder), options=_options(parsed, options))
    except _BadLine as error:
        return Entry(number=number, source=source, fault=(BAD_ROW, str(error)))


def _input(line: _Line, folder: Path) -> Input:
    path = _below(line.source, "source")
    if line.sha256 is not None and not _SHA256.match(line.sha256.lower()):
        raise _BadLine("sha256 is not 64 hexadecimal digits.")
    output = None if line.output is None else _below(line.output, "output")
    named = output or path
    return Input(
        path=folder / path,
        subfolder=Path(named.parent),
        name=None if output is None else output.stem,
        sha256=line.sha256 and line.sha256.lower(),
    )


def _below(text: str, what: str) -> PurePosixPath:
    """A path that stays below its folder."""
    path = PurePosixPath(text)
    if not text or "\0" in text or path.is_absolute() or ".." in path.parts or not path.name:
        raise _BadLine(f"{what} must be a path below its folder.")
    return path


def _options(line: _Line, options: JobOptions) -> JobOptions | None:
    if not line.options:
        return None
    try:
        return JobOptions.from_mapping({**options.to_mapping(), **line.options})
    except InvalidRequest as error:
        raise _BadLine(f"{error.detail[:1].upper()}{error.detail[1:]}.") from error


def _with_twins(entries: list[Entry]) -> list[Entry]:
    marked = iter(with_twins_marked([entry.input for entry in entries if entry.input is not None]))
    return [entry if entry.input is None else replace(entry, input=next(marked)) for entry in entries]


def _readable(text: str) -> str:
    """Text that UTF-8 can hold: of a file name's other bytes what a shell would show."""
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # Half a pair, as JSON may spell it; no file name.
        return text.encode("utf-8", "backslashreplace").decode()
