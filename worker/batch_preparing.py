"""A batch's beginning: the lines of its source become pieces of our own, which nobody changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import structlog

from jobs.batches.manifest import Cursor, Entry, Line, Manifest, ManifestInvalid, read, walk
from jobs.batches.model import FOR_WORKERS, PART_ROWS, Batch, BatchState, Pins
from jobs.batches.store import piece_ref
from jobs.codec import failure_to_json
from jobs.errors import ObjectDenied, ObjectMissing
from jobs.model import Failure
from worker.batch_hands import Hands, Work
from worker.batch_pins import pins_of

logger = structlog.get_logger(__name__)

#: Pieces that are made in one turn, so that all batches have theirs and leases are kept.
PIECES_A_TURN = 10


class Preparing:
    """Pins a batch: its fleet, and its lines."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._batches = hands.batches
        self._blobs = hands.blobs
        self._place = hands.place

    def __call__(self, work: Work) -> bool:
        """Pin some more; whether there is more to do at once."""
        return self.pinning(work, self._pin_some)

    def pinning(self, work: Work, read_some: Callable[[Work], bool]) -> bool:
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
        work.is_over = True

    def _pin_some(self, work: Work) -> bool:
        batch = work.batch
        pins = batch.pins or self._pins(work)
        if pins is None:
            return False
        if work.lines is None:
            work.lines, batch = self.source(batch)
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
                self._hands.beat(work)
            if len(some) < PART_ROWS:
                work.lines = None
                self._begin(work)
                return True
        return True

    def _begin(self, work: Work) -> None:
        if work.batch.total == 0:
            self.fail_empty(work)
            return
        to = BatchState.RUNNING if work.batch.state is BatchState.PREPARING else None
        work.batch = self._batches.note(work.batch, to=to, prepared=1)
        logger.info("batch prepared", items=work.batch.total)

    def fail_empty(self, work: Work) -> None:
        """Nothing was found that could be worked on."""
        self._fail(work, "manifest_empty", "The batch has no items.", "No line, or nothing under the prefix")

    def source(self, batch: Batch) -> tuple[Iterator[Line], Batch]:
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
        slots = [s for s in self._hands.store.slots() if s.models]
        if not slots:
            if work.batch.note != FOR_WORKERS:
                work.batch = self._batches.note(work.batch, note=FOR_WORKERS)
            work.wait_until = self._hands.clock() + 1.0
            return None
        try:
            pins = pins_of(slots, work.batch.spec)
        except ManifestInvalid as err:
            self._fail(work, "weights_missing", "The fleet has not what the batch asks for.", str(err))
            return None
        work.batch = self._batches.note(work.batch, pins=pins.to_json(), note="")
        return pins


def _numbered(entries: Iterator[Entry]) -> Iterator[Line]:
    return ((entry, Cursor(offset=place)) for place, entry in enumerate(entries))
