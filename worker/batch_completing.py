"""A batch's end: its report, and much later its being forgotten."""

from __future__ import annotations

import structlog

from jobs.batches import sheet
from jobs.batches.assembly import Assembly
from jobs.batches.model import Batch, BatchState
from jobs.batches.store import part_ref, piece_ref, redo_ref
from jobs.errors import ObjectError
from worker.batch_hands import Hands, Work

logger = structlog.get_logger(__name__)

#: Batches that are forgotten at a time.
RETIRED = 5


class Completing:
    """Makes reports of batches whose items all have their rows."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._batches = hands.batches
        self._blobs = hands.blobs
        self._place = hands.place

    def __call__(self, work: Work) -> bool:
        """Make the report and end the batch; nothing is left to do."""
        batch = work.batch
        generations = self._batches.generations(batch.id)
        decisions = self._batches.reviews.log(batch, self._blobs, self._place.bucket)
        Assembly(
            blobs=self._blobs,
            bucket=self._place.bucket,
            batch=batch,
            generations=generations,
            decisions=decisions,
            on_part=lambda: self._hands.keep(work),
        )()
        ending = batch.ending or BatchState.SUCCEEDED
        work.batch = self._batches.note(work.batch, to=ending, note="")
        logger.info("batch ended", state=str(ending), **_counts(batch))
        work.is_over = True
        return False

    def forget(self) -> None:
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
            for outcome in self._hands.each(lambda ref: self._blobs.delete([ref]), refs):
                if isinstance(outcome, ObjectError):
                    logger.warning("a batch's working files are not deleted, trying again", error=str(outcome))
                    return
        self._batches.retire(limit=RETIRED)


def _counts(batch: Batch) -> dict[str, int]:
    counts = batch.counts
    return {"succeeded": counts.succeeded, "skipped": counts.skipped, "failed": counts.failed, "left": counts.canceled}
