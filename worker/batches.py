"""The batch runner: the keeper's chore that takes batches from their manifest to their report.

A batch is one keeper's while its lease lasts, and every write shows the lease's epoch. What a runner holds in memory is
only what it can read again: the pinned manifest's pieces that are open, and which of their items were not begun.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

import structlog

from jobs.backlog import Slots
from jobs.batches import report, sheet
from jobs.batches.assembly import Assembly
from jobs.batches.estimate import Estimate
from jobs.batches.manifest import Cursor, Entry, Line, Manifest, ManifestInvalid, read, walk
from jobs.batches.model import PART_ROWS, RETRIED, Batch, BatchId, BatchSpec, BatchState, ItemState, Pins, job_id
from jobs.batches.store import Batches, BatchNotFound, Round, Settled, part_ref, piece_ref, redo_ref
from jobs.blobs import Listed, ObjectInfo
from jobs.codec import dump_json, failure_to_json
from jobs.errors import (
    DeadlineExceeded,
    Fenced,
    JobNotFound,
    JobsError,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    QuotaExceeded,
    StorageUnavailable,
    StoreUnavailable,
)
from jobs.model import Failure, Job, JobId, ObjectRef, TenantId
from jobs.object_names import own_results
from jobs.paces import Paces
from worker.batch_items import Item, Place, row_text
from worker.batch_survey import Look, Survey, look_at
from worker.settings import MAX_PIXELS

logger = structlog.get_logger(__name__)

#: How long a batch stays with a keeper that says nothing (seconds).
LEASE_S = 60.0
#: Batches taken in one round, and how long one round goes on while there is something to do (seconds).
TAKEN = 5
ROUND_S = 1.0
#: Parts of a report that are begun and not in storage: a slow item holds up its part, not the batch.
OPEN_PARTS = 4
#: Of these things, so many in one turn, so that all batches have theirs and leases are kept.
PIECES_A_TURN = 10
PARTS_A_TURN = 50
#: Batches that are forgotten at a time.
RETIRED = 5
#: Of a dry run's sample, so many sources are looked at in one turn.
LOOKS_A_TURN = 32
#: Threads that talk to the storage.
THREADS = 16
#: How often jobs in flight are held against what is there (seconds).
RECONCILE_S = 15.0
#: Failures are judged once so many items are done.
JUDGED_FROM = 20
#: How long a batch waits whose storage is in trouble, or that met a fault of ours (seconds); shorter than a lease.
TROUBLE_S, FAULT_S = 2.0, 15.0
#: The longest wait after a refusal for want of room (seconds).
LONGEST_WAIT_S = 30.0
MAX_PIECE_BYTES = 128 << 20
#: Restorers that an unnamed model may be, best first; and what ``auto`` is as a background, if every worker has a GPU.
RESTORERS = ("gfpgan-1.4", "preview")
AUTO_BACKGROUND = "realesrgan-x2plus"
#: Networks that take part whatever is asked for, best first; a test compares them with the pipeline's.
ALWAYS = (
    ("retinaface-resnet50", "retinaface-mobilenet0.25", "preview-detector"),
    ("parsenet", "bisenet"),
    ("arcface",),
)

T = TypeVar("T")
R = TypeVar("R")


class Blobs(Protocol):
    """The part of the object storage that the runner needs."""

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo: ...
    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes: ...
    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]: ...
    def copy(
        self, source: ObjectRef, to: ObjectRef, *, content_type: str, metadata: Mapping[str, str]
    ) -> ObjectInfo: ...
    def put(self, ref: ObjectRef, data: bytes | BinaryIO, *, content_type: str) -> ObjectInfo: ...
    def delete(self, refs: Sequence[ObjectRef]) -> None: ...


class Store(Protocol):
    """The part of the job store that the runner needs."""

    @property
    def batches(self) -> Batches: ...
    def slots(self) -> tuple[Slots, ...]: ...
    @property
    def paces(self) -> Paces: ...
    def cancel(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job: ...


@dataclass(slots=True, kw_only=True)
class Work:
    """What a runner knows of one of its batches."""

    batch: Batch
    lines: Iterator[Line] | None = None  #: of the source, while it is prepared
    is_loaded: bool = False
    entries: dict[int, Entry] = field(default_factory=dict)  #: of open parts, by item
    pending: deque[int] = field(default_factory=deque)  #: items to be begun
    wait_until: float = 0.0  #: nothing new before that
    hold_until: float = 0.0  #: nothing at all before that: something was in trouble
    reconcile_at: float = 0.0
    has_canceled: bool = False  #: what is in flight
    survey: Survey | None = None  #: of a dry run


class BatchRunner:
    """One keeper's hands on batches; ``step`` is called again and again, from one thread."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        place: Place,
        *,
        name: str,
        window: int,
        lease_s: float = LEASE_S,
        threads: int = THREADS,
        max_pixels: int = MAX_PIXELS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``window``: jobs of a batch that are in flight at most; ``max_pixels``: of a picture, as workers take it."""
        self._store = store
        self._batches = store.batches
        self._blobs = blobs
        self._place = place
        self._name = name
        self._window = window
        self._lease_s = lease_s
        self._clock = clock
        self._max_pixels = max_pixels
        self._works: dict[BatchId, Work] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")
        self._retire_at = 0.0

    def step(self) -> None:
        """A turn of every batch, and more while there is something to do.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        until = self._clock() + ROUND_S
        self._take()
        busy = True
        while busy and self._works:
            busy = False
            for work in list(self._works.values()):
                busy |= self._turn(work)
            if self._clock() > until:
                break

    def close(self) -> None:
        """Give the batches back, for another keeper to take at once."""
        for work in list(self._works.values()):
            try:
                self._batches.beat(work.batch, lease_s=0.0, limit=0)
            except JobsError as err:
                logger.warning("batch not given back, its lease lapses", batch=work.batch.id, error=str(err))
        self._works.clear()
        self._pool.shutdown()

    def _take(self) -> None:
        if self._clock() >= self._retire_at:
            self._retire()
            self._retire_at = self._clock() + 60.0
        for batch in self._batches.lease(self._name, lease_s=self._lease_s, limit=TAKEN):
            logger.info("batch taken", batch=batch.id, state=str(batch.state), epoch=batch.epoch)
            self._works[batch.id] = Work(batch=batch)

    def _retire(self) -> None:
        """Forget batches that ended long ago, with what only a retry would need; reports stay where they are."""
        for batch in self._batches.old(limit=RETIRED):
            generations = range(1, batch.generation + 1)
            pieces = range(batch.pieces)
            refs = [piece_ref(self._place.bucket, batch, piece) for piece in pieces]
            refs += [part_ref(self._place.bucket, batch, part, made) for part in pieces for made in generations]
            halves = sheet.HALVES
            refs += [sheet.copy_ref(self._place.bucket, batch, n, h) for n in sheet.drawn(batch.total) for h in halves]
            refs += self._batches.reviews.stored(batch, self._place.bucket)
            refs += [redo_ref(self._place.bucket, batch.tenant, batch.id)] if batch.spec.redo_of else []
            for outcome in self._each(lambda ref: self._blobs.delete([ref]), refs):
                if isinstance(outcome, ObjectError):
                    logger.warning("a batch's working files are not deleted, trying again", error=str(outcome))
                    return
        self._batches.retire(limit=RETIRED)

    def _turn(self, work: Work) -> bool:
        """Whether there is more to do at once."""
        if self._clock() < work.hold_until:
            return False
        with structlog.contextvars.bound_contextvars(batch=work.batch.id, tenant=work.batch.tenant):
            try:
                return self._go_on(work)
            except (Fenced, BatchNotFound) as err:
                logger.warning("batch is another's now", error=str(err))
                self._works.pop(work.batch.id, None)
            except StorageUnavailable as err:
                logger.warning("storage in trouble, batch waits", error=str(err))
                self._begin_anew(work, after_s=TROUBLE_S)
            except StoreUnavailable:
                self._begin_anew(work, after_s=0.0)
                raise
            # A border: what is wrong with one batch must not stop the others.
            except Exception:
                logger.exception("batch cannot go on by a fault of ours, trying again")
                self._begin_anew(work, after_s=FAULT_S)
            return False

    def _begin_anew(self, work: Work, *, after_s: float) -> None:
        """Forget what is held in memory: after an error in its middle it may not be what is stored."""
        # But for a manifest that was read to its end: what a survey has counted is stored nowhere.
        survey = work.survey if work.survey is not None and work.survey.is_counted else None
        self._works[work.batch.id] = Work(batch=work.batch, hold_until=self._clock() + after_s, survey=survey)

    def _go_on(self, work: Work) -> bool:
        if self._clock() < work.wait_until and work.batch.state is BatchState.PREPARING:
            self._beat(work)
            return False
        found = self._beat(work)
        batch = found.batch
        if batch.state in {BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELED}:
            self._works.pop(batch.id, None)
            return False
        if self._is_overdue(found):
            failure = Failure(code=DeadlineExceeded.code, title=DeadlineExceeded.public, detail="Of the whole batch.")
            self._end(work, failure)
            return True
        return self._next(work, found)

    def _next(self, work: Work, found: Round) -> bool:
        if work.batch.spec.dry_run:
            return self._survey(work)
        if not work.batch.is_prepared:
            return self._prepare(work)
        if work.batch.state is BatchState.COMPLETING:
            return self._complete(work)
        return self._run(work, found)

    def _beat(self, work: Work) -> Round:
        found = self._batches.beat(work.batch, lease_s=self._lease_s, limit=2 * self._window)
        work.batch = found.batch
        return found

    @staticmethod
    def _is_overdue(found: Round) -> bool:
        batch, can_end = found.batch, {BatchState.PREPARING, BatchState.RUNNING, BatchState.PAUSED}
        return batch.deadline is not None and found.now >= batch.deadline and batch.state in can_end

    def _end(self, work: Work, failure: Failure) -> None:
        logger.warning("batch is ended", code=failure.code, detail=failure.detail)
        work.batch = self._batches.end(work.batch, BatchState.FAILED, failure)

    # -- a dry run: everything is looked at, nothing is begun

    def _survey(self, work: Work) -> bool:
        batch = work.batch
        if batch.state is BatchState.PREPARING:
            return self._pinning(work, self._survey_some)
        if batch.state is BatchState.CANCELING:
            work.batch = batch = self._batches.note(batch, to=BatchState.COMPLETING)
        ending = batch.ending or BatchState.SUCCEEDED
        work.batch = self._batches.note(batch, to=ending, note="")
        logger.info("dry run ended", state=str(ending), lines=batch.total)
        self._works.pop(batch.id, None)
        return False

    def _survey_some(self, work: Work) -> bool:
        survey = work.survey = work.survey or Survey(batch=work.batch)
        if not survey.is_counted:
            if work.lines is None:
                work.lines, work.batch = self._source(work.batch)
            some = list(itertools.islice(work.lines, PIECES_A_TURN * PART_ROWS))
            for entry, _ in some:
                survey.add(entry)
            if len(some) < PIECES_A_TURN * PART_ROWS:
                survey.close()
            if survey.is_counted and not survey.lines:
                self._fail_empty(work)
                return False
        elif survey.waiting:
            self._look_at_some(work, survey)
        if survey.is_counted and not survey.waiting:
            work.batch = self._note_estimate(work, self._estimate(work, survey), to=BatchState.COMPLETING)
        else:
            work.batch = self._note_estimate(work, survey.estimate())
        return True

    def _note_estimate(self, work: Work, estimate: Estimate, *, to: BatchState | None = None) -> Batch:
        return self._batches.note(work.batch, to=to, total=estimate.lines, estimate=dump_json(estimate.to_json()))

    def _look_at_some(self, work: Work, survey: Survey) -> None:
        pins = self._present(work)[0]
        some = [survey.waiting.popleft() for _ in range(min(LOOKS_A_TURN, len(survey.waiting)))]

        def look(one: tuple[int, Entry]) -> Look:
            return look_at(
                work.batch, *one, pins=pins, place=self._place, blobs=self._blobs, max_pixels=self._max_pixels
            )

        looks = self._each(look, some)
        survey.looks += [one for one in looks if isinstance(one, Look)]
        later = [one for one, outcome in zip(some, looks, strict=True) if isinstance(outcome, Exception)]
        survey.waiting.extendleft(reversed(later))
        _raise_first(looks)

    def _present(self, work: Work) -> tuple[Pins | None, tuple[str, ...]]:
        """What the fleet would be pinned to now, as far as it is there, and what is wrong with that."""
        slots = [s for s in self._store.slots() if s.models]
        try:
            return (pins_of(slots, work.batch.spec), ()) if slots else (None, ())
        except ManifestInvalid as err:
            return None, (f"As the fleet is now, the batch would fail (weights_missing): {err}.",)

    def _estimate(self, work: Work, survey: Survey) -> Estimate:
        pins, notes = self._present(work)
        options = work.batch.spec.options
        pace = self._store.paces.of(
            model=pins.model if pins else options.model or RESTORERS[0],
            background=pins.background if pins else options.background.replace("auto", "none"),
            devices=pins.devices if pins else (),
            exact=options.precision == "exact",
        )
        return survey.estimate(pace=pace, has_workers=pins is not None or bool(notes), notes=notes)

    # -- preparing: the source's lines become pieces of our own, which nobody changes

    def _prepare(self, work: Work) -> bool:
        return self._pinning(work, self._pin_some)

    def _pinning(self, work: Work, read_some: Callable[[Work], bool]) -> bool:
        """A source that cannot be read is the batch's end."""
        try:
            return read_some(work)
        except (ManifestInvalid, ObjectMissing, ObjectDenied) as err:
            code = err.code if isinstance(err, ManifestInvalid) else f"manifest_{err.code.removeprefix('input_')}"
            self._fail(work, code, ManifestInvalid.public, str(err))
            return False

    def _fail(self, work: Work, code: str, title: str, detail: str) -> None:
        failure = Failure(code=code, title=title, detail=f"{detail[:1].upper()}{detail[1:].rstrip('.')}.")
        logger.warning("batch failed", code=code, detail=detail)
        work.batch = self._batches.note(work.batch, to=BatchState.FAILED, failure=failure_to_json(failure), note="")
        self._works.pop(work.batch.id, None)

    def _pin_some(self, work: Work) -> bool:
        batch = work.batch
        pins = batch.pins or self._pins(work)
        if pins is None:
            return False
        if work.lines is None:
            work.lines, batch = self._source(batch)
        for _ in range(PIECES_A_TURN):
            some = list(itertools.islice(work.lines, PART_ROWS))
            if some:
                data = "".join(json.dumps(entry.to_json(), separators=(",", ":")) + "\n" for entry, _ in some)
                ref = piece_ref(self._place.bucket, batch, batch.pieces)
                self._blobs.put(ref, data.encode(), content_type="application/jsonl")
                cursor = some[-1][1]
                batch = self._batches.note(
                    batch,
                    pieces=batch.pieces + 1,
                    total=batch.total + len(some),
                    cursor=json.dumps([cursor.file, cursor.offset]),
                    note="",
                )
                work.batch = batch
                self._beat(work)
            if len(some) < PART_ROWS:
                work.lines = None
                self._begin(work)
                return True
        return True

    def _begin(self, work: Work) -> None:
        if work.batch.total == 0:
            self._fail_empty(work)
            return
        to = BatchState.RUNNING if work.batch.state is BatchState.PREPARING else None
        work.batch = self._batches.note(work.batch, to=to, prepared=1)
        logger.info("batch prepared", items=work.batch.total)

    def _fail_empty(self, work: Work) -> None:
        self._fail(work, "manifest_empty", "The batch has no items.", "No line, or nothing under the prefix")

    def _source(self, batch: Batch) -> tuple[Iterator[Line], Batch]:
        """The lines that are not pinned yet."""
        source = batch.spec.source
        if isinstance(source, Manifest):
            after = (
                Cursor(**dict(zip(("file", "offset"), json.loads(batch.cursor), strict=True))) if batch.cursor else None
            )
            return read(self._blobs, source, after=after), batch
        # A listing has no place to go on from that means the same later: it begins anew, nothing has been done yet.
        return _numbered(walk(self._blobs, source)), self._batches.note(batch, pieces=0, total=0, cursor="")

    def _pins(self, work: Work) -> Pins | None:
        slots = [s for s in self._store.slots() if s.models]
        if not slots:
            if work.batch.note != "workers":
                work.batch = self._batches.note(work.batch, note="workers")
            work.wait_until = self._clock() + 1.0
            return None
        try:
            pins = pins_of(slots, work.batch.spec)
        except ManifestInvalid as err:
            self._fail(work, "weights_missing", "The fleet has not what the batch asks for.", str(err))
            return None
        work.batch = self._batches.note(work.batch, pins=pins.to_json(), note="")
        return pins

    # -- running

    def _run(self, work: Work, found: Round) -> bool:
        if not work.is_loaded:
            self._load(work, found)
        now = self._clock()
        if now >= work.reconcile_at:
            self._reconcile(work)
            work.reconcile_at = now + RECONCILE_S
        settled = self._settle_ended(work, found.ended)
        stored = self._store_parts(work, found)
        if work.batch.state is BatchState.CANCELING:
            begun = self._cancel_rest(work, found)
        else:
            self._judge(work)
            can_begin = work.batch.state is BatchState.RUNNING and now >= work.wait_until
            begun = self._begin_some(work, found) if can_begin else 0
        is_over = not found.parts and not work.pending and found.batch.next_part >= found.batch.pieces
        if is_over and not (settled or stored or begun or found.batch.in_flight):
            work.batch = self._batches.note(work.batch, to=BatchState.COMPLETING)
            return True
        return bool(settled or stored or begun)

    def _load(self, work: Work, found: Round) -> None:
        """What is open, as the runner before left it."""
        flight = set(self._batches.flight(work.batch.id))
        for part in found.parts:
            have = self._batches.settled_items(work.batch.id, part.number)
            for item, entry in self._piece(work.batch, part.number):
                if item not in have:
                    work.entries[item] = entry
                    if item not in flight:
                        work.pending.append(item)
        work.is_loaded = True

    def _piece(self, batch: Batch, part: int) -> list[tuple[int, Entry]]:
        data = self._blobs.get(piece_ref(self._place.bucket, batch, part), max_bytes=MAX_PIECE_BYTES)
        first = part * PART_ROWS
        return [(first + n, Entry.from_json(json.loads(line))) for n, line in enumerate(data.decode().splitlines())]

    def _reconcile(self, work: Work) -> None:
        """Jobs that a failover lost are begun again."""
        lost = self._batches.strays(work.batch, self._batches.flight(work.batch.id))
        if lost:
            logger.warning("jobs of a batch were lost, they are submitted again", count=len(lost))
            work.pending.extendleft(item for item in reversed(lost) if item in work.entries)

    def _settle_ended(self, work: Work, ended: Sequence[int]) -> int:
        if not ended:
            return 0
        batch = work.batch
        jobs = dict(zip(ended, self._batches.jobs_of(batch, ended), strict=True))
        for item in [item for item in ended if item not in work.entries]:
            # It has its row: only its job is left.
            jobs.pop(item)
        gone = [item for item, job in jobs.items() if job is None]
        lost = set(self._batches.strays(batch, gone))
        work.pending.extendleft(lost)
        settled = [self._item(work, item).forged() for item in gone if item not in lost]

        def deliver(pair: tuple[int, Job]) -> Settled:
            item, job = pair
            return self._item(work, item).outcome(job)

        known = [(item, job) for item, job in jobs.items() if job is not None]
        outcomes = self._each(deliver, known)
        settled += [one for one in outcomes if isinstance(one, Settled)]
        self._settle(work, settled)
        self._clean([job for (_, job), one in zip(known, outcomes, strict=True) if isinstance(one, Settled)])
        _raise_first(outcomes)
        return len(settled)

    def _item(self, work: Work, item: int) -> Item:
        pins = _require(work.batch.pins)
        return Item(batch=work.batch, pins=pins, number=item, entry=work.entries[item], place=self._place)

    def _settle(self, work: Work, settled: Sequence[Settled]) -> None:
        if settled:
            self._batches.settle(work.batch, settled)
            for one in settled:
                work.entries.pop(one.item, None)

    def _clean(self, jobs: Sequence[Job]) -> None:
        """Results lie at their final names now, and rows tell of them."""
        done = [job for job in jobs if job.result is not None and job.result.artifacts]

        def delete(job: Job) -> JobId:
            self._blobs.delete(own_results(job, bucket=self._place.bucket))
            return job.id

        # What fails here is the sweeper's.
        self._batches.purge([one for one in self._each(delete, done) if isinstance(one, str)])

    def _store_parts(self, work: Work, found: Round) -> int:
        stored = 0
        for part in found.parts:
            if part.written < part.rows:
                continue
            rows = self._batches.rows(work.batch.id, part.number)
            report.put_part(self._blobs, self._place.bucket, work.batch, part.number, [rows[i] for i in sorted(rows)])
            again = [item for item, row in rows.items() if ItemState(json.loads(row)["status"]) in RETRIED]
            self._batches.written(work.batch, part.number, again=sorted(again))
            stored += 1
        return stored

    def _judge(self, work: Work) -> None:
        batch, limit = work.batch, work.batch.spec.failure_threshold
        if limit is None or batch.counts.done < min(JUDGED_FROM, batch.total):
            return
        share = batch.counts.failed / batch.counts.done
        if share > limit and batch.state in {BatchState.RUNNING, BatchState.PAUSED}:
            words = f"{batch.counts.failed} of {batch.counts.done} items failed, more than {limit:.0%}."
            self._end(work, Failure(code="failure_threshold", title="Too many items failed.", detail=words))

    def _begin_some(self, work: Work, found: Round) -> int:
        room = self._window - found.batch.in_flight
        if room <= 0:
            return 0
        self._open_some(work, found, wanted=room)
        batch = work.batch
        items = [work.pending.popleft() for _ in range(min(room, len(work.pending)))]
        looks = self._each(lambda item: self._item(work, item).look(), items)
        self._settle(work, [one for one in looks if isinstance(one, Settled)])
        jobs = [one for one in looks if isinstance(one, Job)]
        # What was not looked at, or has no room, is begun later.
        later = [item for item, one in zip(items, looks, strict=True) if isinstance(one, Exception)]
        for job, answer in zip(jobs, self._batches.submit(batch, jobs) if jobs else (), strict=True):
            if isinstance(answer, QuotaExceeded):
                later.append(int(job.item or 0))
                wait_s = min(answer.retry_after_s or 1.0, LONGEST_WAIT_S)
                work.wait_until = max(work.wait_until, self._clock() + wait_s)
        work.pending.extendleft(sorted(later, reverse=True))
        _raise_first(looks)
        return len(items) - len(later)

    def _open_some(self, work: Work, found: Round, *, wanted: int) -> None:
        """Begin parts until there is enough to do, or as many as there may be."""
        batch, is_open = work.batch, len(found.parts)
        part = batch.next_part
        for _ in range(PARTS_A_TURN):
            if part >= batch.pieces or len(work.pending) >= wanted or is_open >= OPEN_PARTS:
                return
            is_open += self._open(work, part)
            part += 1

    def _open(self, work: Work, part: int) -> bool:
        """Whether there is anything to do in this part."""
        batch = work.batch
        rows = min(PART_ROWS, batch.total - part * PART_ROWS)
        wanted = set(range(part * PART_ROWS, part * PART_ROWS + rows))
        kept: dict[int, str] = {}
        if batch.generation > 1:
            wanted = set(self._batches.retried(batch.id, part, rows))
            if not wanted:
                self._batches.open(batch, part, rows=0, kept={})
                return False
            before = self._batches.generations(batch.id)[part]
            old = report.read_part(self._blobs, self._place.bucket, batch, part, before)
            kept = {row.number - 1: row_text(row) for row in old if row.number - 1 not in wanted}
        # Read before it is begun: what is begun must be known to this runner.
        piece = self._piece(batch, part)
        self._batches.open(batch, part, rows=rows, kept=kept)
        for item, entry in piece:
            if item in wanted:
                work.entries[item] = entry
                work.pending.append(item)
        return True

    def _cancel_rest(self, work: Work, found: Round) -> int:
        if not work.has_canceled:
            for item in self._batches.flight(work.batch.id):
                try:
                    self._store.cancel(job_id(work.batch.id, work.batch.generation, item), tenant=work.batch.tenant)
                except JobNotFound:
                    work.reconcile_at = 0.0
            work.has_canceled = True
        self._open_some(work, found, wanted=PART_ROWS * OPEN_PARTS)
        items = list(work.pending)
        self._settle(work, [self._item(work, item).canceled() for item in items])
        work.pending.clear()
        return len(items)

    # -- completing

    def _complete(self, work: Work) -> bool:
        batch = work.batch
        generations = self._batches.generations(batch.id)
        decisions = self._batches.reviews.log(batch, self._blobs, self._place.bucket)
        Assembly(
            blobs=self._blobs,
            bucket=self._place.bucket,
            batch=batch,
            generations=generations,
            decisions=decisions,
            on_part=lambda: self._keep(work),
        )()
        ending = batch.ending or BatchState.SUCCEEDED
        work.batch = self._batches.note(work.batch, to=ending, note="")
        logger.info("batch ended", state=str(ending), **_counts(batch))
        self._works.pop(batch.id, None)
        return False

    def _keep(self, work: Work) -> None:
        """Renew the lease in the middle of something long."""
        self._batches.beat(work.batch, lease_s=self._lease_s, limit=0)

    def _each(self, call: Callable[[T], R], things: Sequence[T]) -> list[R | ObjectError]:
        """What comes of each; trouble of the storage is an outcome like others, so that the rest is not lost."""

        def attempt(thing: T) -> R | ObjectError:
            try:
                return call(thing)
            except ObjectError as err:
                return err

        return list(self._pool.map(attempt, things)) if len(things) > 1 else [attempt(thing) for thing in things]


def pins_of(slots: Sequence[Slots], spec: BatchSpec) -> Pins:
    """What the fleet has now, for the whole batch.

    Raises:
        ManifestInvalid: a model that is asked for is on no worker, or workers have different files of one name.
    """
    weights: dict[str, str] = {}
    for told in (told for worker in slots for told in worker.models):
        name, sha256 = str(told["name"]), str(told.get("sha256") or "")
        if weights.setdefault(name, sha256) != sha256:
            raise ManifestInvalid(f"workers have different files of {name}; give all of them the same one")
    model = spec.options.model or next((name for name in RESTORERS if name in weights), None)
    if model is None or model not in weights:
        raise ManifestInvalid(f"no worker has {model or RESTORERS[0]}; see `photomend models`")
    background = spec.options.background
    if background == "auto":
        with_gpu = all(" on cpu" not in worker.engine for worker in slots)
        background = AUTO_BACKGROUND if with_gpu and AUTO_BACKGROUND in weights else "none"
    if background != "none" and background not in weights:
        raise ManifestInvalid(f"no worker has {background}; see `photomend models`")
    return Pins(
        model=model,
        background=background,
        precision=spec.options.precision,
        weights=dict(sorted(weights.items())),
        always=tuple(found for names in ALWAYS if (found := next((n for n in names if n in weights), None))),
        engines=tuple(sorted({worker.engine for worker in slots})),
    )


def _numbered(entries: Iterator[Entry]) -> Iterator[Line]:
    return ((entry, Cursor(offset=place)) for place, entry in enumerate(entries))


def _counts(batch: Batch) -> dict[str, int]:
    counts = batch.counts
    return {"succeeded": counts.succeeded, "skipped": counts.skipped, "failed": counts.failed, "left": counts.canceled}


def _require(pins: Pins | None) -> Pins:
    if pins is None:
        raise AssertionError("this is a bug: a batch that runs has been pinned")
    return pins


def _raise_first(outcomes: Sequence[object]) -> None:
    for one in outcomes:
        if isinstance(one, Exception):
            raise one
