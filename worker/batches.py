"""The batch runner: the keeper's chore that takes batches from their manifest to their report.

A batch is one keeper's while its lease lasts, and every write shows the lease's epoch. What a runner holds in memory is
only what it can read again: the pinned manifest's pieces that are open, and which of their items were not begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from jobs.batches.model import BatchId, BatchState
from jobs.batches.store import BatchNotFound, Round
from jobs.errors import DeadlineExceeded, Fenced, JobsError, StorageUnavailable, StoreUnavailable
from jobs.model import Failure
from worker.batch_completing import Completing
from worker.batch_dry_run import DryRun
from worker.batch_hands import THREADS, Blobs, Hands, Store, Work
from worker.batch_items import Place
from worker.batch_preparing import Preparing
from worker.batch_running import Running
from worker.settings import MAX_PIXELS

logger = structlog.get_logger(__name__)

#: How long a batch stays with a keeper that says nothing (seconds).
LEASE_S = 60.0
#: Batches taken in one round, and how long one round goes on while there is something to do (seconds).
TAKEN = 5
ROUND_S = 1.0
#: How long a batch waits whose storage is in trouble, or that met a fault of ours (seconds); shorter than a lease.
TROUBLE_S, FAULT_S = 2.0, 15.0


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
        self._batches = store.batches
        self._name = name
        self._lease_s = lease_s
        self._clock = clock
        self._works: dict[BatchId, Work] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")
        self._retire_at = 0.0
        hands = Hands(
            store=store,
            blobs=blobs,
            place=place,
            window=window,
            lease_s=lease_s,
            max_pixels=max_pixels,
            clock=clock,
            pool=self._pool,
        )
        self._hands = hands
        self._prepare = Preparing(hands)
        self._survey = DryRun(hands, self._prepare)
        self._run = Running(hands)
        self._complete = Completing(hands)

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
                if work.is_over:
                    self._works.pop(work.batch.id, None)
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
            self._complete.forget()
            self._retire_at = self._clock() + 60.0
        for batch in self._batches.lease(self._name, lease_s=self._lease_s, limit=TAKEN):
            logger.info("batch taken", batch=batch.id, state=str(batch.state), epoch=batch.epoch)
            self._works[batch.id] = Work(batch=batch)

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
            self._hands.beat(work)
            return False
        found = self._hands.beat(work)
        batch = found.batch
        if batch.state in {BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELED}:
            work.is_over = True
            return False
        if self._is_overdue(found):
            failure = Failure(code=DeadlineExceeded.code, title=DeadlineExceeded.public, detail="Of the whole batch.")
            self._hands.end(work, failure)
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

    @staticmethod
    def _is_overdue(found: Round) -> bool:
        batch, can_end = found.batch, {BatchState.PREPARING, BatchState.RUNNING, BatchState.PAUSED}
        return batch.deadline is not None and found.now >= batch.deadline and batch.state in can_end
