"""A batch at work: its items are begun in a window, delivered, and written down part by part."""

from __future__ import annotations

import json
from collections.abc import Sequence

import structlog

from jobs.batches import report
from jobs.batches.manifest import Entry
from jobs.batches.model import PART_ROWS, RETRIED, Batch, BatchState, ItemState, Pins, job_id
from jobs.batches.store import Round, Settled, piece_ref
from jobs.errors import JobNotFound, QuotaExceeded
from jobs.model import Failure, Job, JobId
from jobs.object_names import own_results
from worker.batch_hands import Hands, Work, raise_first
from worker.batch_items import Item, row_text

logger = structlog.get_logger(__name__)

#: Parts of a report that are begun and not in storage: a slow item holds up its part, not the batch.
OPEN_PARTS = 4
PARTS_A_TURN = 50
#: How often jobs in flight are held against what is there (seconds).
RECONCILE_S = 15.0
#: Failures are judged once so many items are done.
JUDGED_FROM = 20
#: The longest wait after a refusal for want of room (seconds).
LONGEST_WAIT_S = 30.0
MAX_PIECE_BYTES = 128 << 20


class Running:
    """Sees the items of a batch to their rows."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._batches = hands.batches
        self._blobs = hands.blobs
        self._place = hands.place

    def __call__(self, work: Work, found: Round) -> bool:
        """Do what there is to do; whether there is more at once."""
        if not work.is_loaded:
            self._load(work, found)
        now = self._hands.clock()
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
        outcomes = self._hands.each(deliver, known)
        settled += [one for one in outcomes if isinstance(one, Settled)]
        self._settle(work, settled)
        self._clean([job for (_, job), one in zip(known, outcomes, strict=True) if isinstance(one, Settled)])
        raise_first(outcomes)
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
        self._batches.purge([one for one in self._hands.each(delete, done) if isinstance(one, str)])

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
            self._hands.end(work, Failure(code="failure_threshold", title="Too many items failed.", detail=words))

    def _begin_some(self, work: Work, found: Round) -> int:
        room = self._hands.window - found.batch.in_flight
        if room <= 0:
            return 0
        self._open_some(work, found, wanted=room)
        batch = work.batch
        items = [work.pending.popleft() for _ in range(min(room, len(work.pending)))]
        looks = self._hands.each(lambda item: self._item(work, item).look(), items)
        self._settle(work, [one for one in looks if isinstance(one, Settled)])
        jobs = [one for one in looks if isinstance(one, Job)]
        # What was not looked at, or has no room, is begun later.
        later = [item for item, one in zip(items, looks, strict=True) if isinstance(one, Exception)]
        for job, answer in zip(jobs, self._batches.submit(batch, jobs) if jobs else (), strict=True):
            if isinstance(answer, QuotaExceeded):
                later.append(int(job.item or 0))
                wait_s = min(answer.retry_after_s or 1.0, LONGEST_WAIT_S)
                work.wait_until = max(work.wait_until, self._hands.clock() + wait_s)
        work.pending.extendleft(sorted(later, reverse=True))
        raise_first(looks)
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
                    self._hands.store.cancel(
                        job_id(work.batch.id, work.batch.generation, item), tenant=work.batch.tenant
                    )
                except JobNotFound:
                    work.reconcile_at = 0.0
            work.has_canceled = True
        self._open_some(work, found, wanted=PART_ROWS * OPEN_PARTS)
        items = list(work.pending)
        self._settle(work, [self._item(work, item).canceled() for item in items])
        work.pending.clear()
        return len(items)


def _require(pins: Pins | None) -> Pins:
    if pins is None:
        raise AssertionError("this is a bug: a batch that runs has been pinned")
    return pins
