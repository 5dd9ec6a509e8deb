"""What a batch would come to: its lines counted, checked and sampled, and the sample's headers read.

Nothing is written anywhere and no item is begun. Everything is held in memory, but for the results' names, which lie on
disk; a survey that was cut off begins anew, since nothing of it was done.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sqlite3
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.batches.estimate import (
    MOST_EXAMPLES,
    MOST_REFUSALS,
    SAMPLE,
    Estimate,
    Example,
    Refusal,
    extrapolated,
)
from jobs.batches.manifest import Entry
from jobs.batches.model import Batch, BatchSpec, ItemState, Pins
from jobs.batches.naming import image_ending
from jobs.batches.store import Settled
from jobs.delivery.rows import from_words
from jobs.errors import InvalidRequest, ObjectError, StorageUnavailable
from jobs.model import Job, ObjectRef
from jobs.options import BACKGROUNDS, MODELS, JobOptions
from jobs.paces import Pace
from worker.batch_items import Item, ItemFailed, Place, destination, require_apart, sentence, source_of
from worker.headers import Header, HeaderUnreadable, Ranges, read_header

#: Two lines that would give one name to their results.
REPEATED_NAME = "output_repeated"
#: Without a worker nobody knows which weights an earlier result must be by.
_NO_WORKER = (
    "No worker is there now: which weights it would be done with is not known, so that results which lie there already"
    " count as refused, and the time is by what workers took before."
)
_NO_PACE = "No job like these was measured here yet, so that time and cost are not known: restore a few pictures first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a source of the sample turned out to be."""

    number: int
    source: str
    bytes: int = 0
    header: Header | None = None
    is_there: bool = False  #: its result lies there already
    code: str | None = None  #: why it would get no result
    detail: str = ""


class Names:
    """Names of results that are taken; on disk, so that a manifest may have any length."""

    def __init__(self) -> None:
        # An empty name is a file of its own that goes with the connection.
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute("PRAGMA journal_mode=OFF")
        self._table.execute("PRAGMA synchronous=OFF")
        self._table.execute("CREATE TABLE names (name BLOB PRIMARY KEY, what BLOB, number INTEGER) WITHOUT ROWID")

    def take(self, name: str, *, what: str, number: int) -> tuple[int, bool] | None:
        """None if the name was free; else the line that has it, and whether that is for the very same thing."""
        key, thing = _digest(name), _digest(what)
        added = self._table.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", (key, thing, number)).rowcount
        if added:
            return None
        first, of = self._table.execute("SELECT number, what FROM names WHERE name = ?", (key,)).fetchone()
        return int(first), of == thing


@dataclass(kw_only=True)
class Survey:
    """What is known of a batch so far."""

    batch: Batch
    lines: int = 0
    repeated: int = 0
    is_counted: bool = False
    looks: list[Look] = field(default_factory=list)
    waiting: deque[tuple[int, Entry]] = field(default_factory=deque)  #: of the sample, not looked at yet
    _refused: dict[str, tuple[int, list[Example]]] = field(default_factory=dict)
    _names: Names = field(default_factory=Names)
    _drawn: list[tuple[int, int, Entry]] = field(default_factory=list)  #: a heap: the largest draw on top, negative

    def add(self, entry: Entry) -> None:
        """Count a line; refuse it, or let it take part in the draw."""
        item = self.lines
        self.lines += 1
        try:
            is_new = self._take_name(item, entry)
        except ItemFailed as err:
            self._refuse(item, entry, err.failure_code, err.detail)
        except InvalidRequest as err:
            self._refuse(item, entry, err.code, sentence(err))
        else:
            if is_new:
                self._draw(item, entry)

    def close(self) -> None:
        """Every line was added: the sample is drawn."""
        self.is_counted = True
        self.waiting = deque(sorted((item, entry) for _, item, entry in self._drawn))
        self._drawn = []

    def _take_name(self, item: int, entry: Entry) -> bool:
        """Whether the line is for something new."""
        spec = self.batch.spec
        source, options = source_of(entry), options_of(spec, entry)
        require_apart(spec, source)
        ending = image_ending(source, options.format)
        if ending is None or "image" not in options.outputs:
            return True
        to = destination(spec, entry, item, part="image", ending=ending, suffix=options.suffix)
        what = f"{source.uri} {entry.version_id} {dict(entry.options)}"
        taken = self._names.take(to.key, what=what, number=item + 1)
        if taken is None:
            return True
        first, is_same = taken
        if not is_same:
            raise ItemFailed(REPEATED_NAME, f"Its result would have the name of line {first}'s, {to.key}.")
        self.repeated += 1
        return False

    def _refuse(self, item: int, entry: Entry, code: str, detail: str) -> None:
        count, examples = self._refused.get(code, (0, []))
        if len(examples) < MOST_EXAMPLES:
            source = entry.source.uri if entry.source is not None else entry.line
            examples.append(Example(number=item + 1, source=source, detail=detail))
        self._refused[code] = count + 1, examples

    def _draw(self, item: int, entry: Entry) -> None:
        """Those with the smallest draws are the sample: by chance, and yet the same whenever it is drawn again."""
        draw = int.from_bytes(_digest(f"{self.batch.id} {item}"))
        if len(self._drawn) < SAMPLE:
            heapq.heappush(self._drawn, (-draw, item, entry))
        elif -draw > self._drawn[0][0]:
            heapq.heapreplace(self._drawn, (-draw, item, entry))

    def estimate(self, *, pace: Pace | None = None, has_workers: bool = True, notes: Sequence[str] = ()) -> Estimate:
        """What it comes to, by what is known so far."""
        good = [look for look in self.looks if look.header is not None]
        usable = self.lines - self.repeated - sum(count for count, _ in self._refused.values())
        to_do = usable * len(good) / len(self.looks) if self.looks else 0.0
        megapixels = extrapolated([one.header.megapixels for one in good if one.header], population=to_do)
        gpu_s = None
        if pace is not None:
            gpu_s = round(pace.seconds(pictures=to_do, megapixels=megapixels.total if megapixels else 0.0), 1)
        told = [*notes]
        if self.is_counted and not self.waiting:
            told += [_NO_WORKER] * (not has_workers) + [_NO_PACE] * (pace is None)
        return Estimate(
            lines=self.lines,
            repeated=self.repeated,
            sample=len(self.looks) + len(self.waiting),
            looked=len(self.looks),
            there=sum(look.is_there for look in self.looks),
            to_do=round(to_do),
            formats=dict(Counter(one.header.content_type for one in good if one.header).most_common()),
            megapixels=megapixels,
            bytes=extrapolated([one.bytes for one in good], population=to_do),
            refused=self._refusals(),
            gpu_s=gpu_s,
            measured_jobs=pace.jobs if pace is not None else 0,
            notes=tuple(told),
        )

    def _refusals(self) -> tuple[Refusal, ...]:
        found = [
            Refusal(code=code, scope="lines", count=count, examples=tuple(examples))
            for code, (count, examples) in self._refused.items()
        ]
        by_code: dict[str, list[Look]] = {}
        for look in self.looks:
            if look.code is not None:
                by_code.setdefault(look.code, []).append(look)
        for code, looks in by_code.items():
            named = tuple(Example(number=one.number, source=one.source, detail=one.detail) for one in looks)
            found.append(Refusal(code=code, scope="sample", count=len(looks), examples=named[:MOST_EXAMPLES]))
        return tuple(sorted(found, key=lambda one: -one.count)[:MOST_REFUSALS])


def look_at(
    batch: Batch, item: int, entry: Entry, *, pins: Pins | None, place: Place, blobs: Ranges, max_pixels: int
) -> Look:
    """What becomes of a line, as far as its source's header tells.

    Raises:
        StorageUnavailable, StoreUnavailable: ask again later.
    """
    found = Item(batch=batch, pins=pins or _any_pins(batch.spec), number=item, entry=entry, place=place).look()
    source = entry.source.uri if entry.source is not None else entry.line
    if isinstance(found, Settled):
        row = from_words(json.loads(found.row))
        is_there = found.state is ItemState.SKIPPED
        return Look(
            number=item + 1, source=source, is_there=is_there,
            code=None if is_there else row.error_code, detail=row.error or "",
        )  # fmt: skip
    try:
        header = _header(found, blobs)
        _require_fitting(header, max_pixels)
    except HeaderUnreadable as err:
        return Look(number=item + 1, source=source, code=err.failure_code, detail=err.detail)
    except StorageUnavailable:
        raise
    except ObjectError as err:
        return Look(number=item + 1, source=source, code=err.code, detail=err.public)
    return Look(number=item + 1, source=source, bytes=found.input_bytes or 0, header=header)


def _require_fitting(header: Header, max_pixels: int) -> None:
    if header.width * header.height > max_pixels:
        size = f"{header.width:,} x {header.height:,} px, allowed are {max_pixels / 1e6:,.3g} megapixels."
        raise HeaderUnreadable("image_too_large", f"It has {size}")


def _header(job: Job, blobs: Ranges) -> Header:
    ref = job.input
    assert isinstance(ref, ObjectRef)  # noqa: S101  (items of a batch lie in the storage)
    return read_header(blobs, ref, etag=job.input_etag or "", size=job.input_bytes or 0)


def options_of(spec: BatchSpec, entry: Entry) -> JobOptions:
    """The batch's options with the line's own.

    Raises:
        InvalidRequest: together they are none.
    """
    if not entry.options:
        return spec.options
    return JobOptions.from_mapping(spec.options.to_mapping() | dict(entry.options))


def _any_pins(spec: BatchSpec) -> Pins:
    """For want of a worker: whatever is asked for might be there."""
    return Pins(
        model=spec.options.model or MODELS[0],
        background=spec.options.background if spec.options.background != "auto" else "none",
        precision=spec.options.precision,
        weights=dict.fromkeys((*MODELS, *BACKGROUNDS), ""),
        engines=(),
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
