"""The keeper's chore that makes reports anew where people decided about results after the report was made."""

from __future__ import annotations

from typing import Protocol

import structlog

from jobs.batches.assembly import Assembly
from jobs.batches.model import ENDED, BatchId
from jobs.batches.report import Objects
from jobs.batches.store import Batches, BatchNotFound
from jobs.delivery.errors import DeliveryError
from jobs.errors import ObjectError, SpecForged, StorageUnavailable

logger = structlog.get_logger(__name__)

#: Reports that are made in one step.
LIMIT = 2
#: Said of a report that nobody can make: it is not asked for again until the next decision.
ALL = 1 << 53


class Store(Protocol):
    """The part of the job store that the chore needs."""

    @property
    def batches(self) -> Batches: ...


class DecisionReporter:
    """Makes a report anew once its reviewers have been quiet for a while. Several may run."""

    def __init__(self, store: Store, blobs: Objects, *, bucket: str) -> None:
        self._batches = store.batches
        self._blobs = blobs
        self._bucket = bucket

    def step(self) -> None:
        """Make what is due.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        for batch_id in self._batches.reviews.unreported(limit=LIMIT):
            with structlog.contextvars.bound_contextvars(batch=batch_id):
                try:
                    count = self._make(batch_id)
                except (BatchNotFound, SpecForged):
                    count = ALL
                except StorageUnavailable as err:
                    logger.warning("report not made anew, trying again", error=str(err))
                    count = 0
                except (ObjectError, DeliveryError):
                    logger.exception("report cannot be made anew")
                    count = ALL
                self._batches.reviews.reported(batch_id, count=count)

    def _make(self, batch_id: BatchId) -> int:
        """How many decisions the report knows now."""
        batch = self._batches.get_genuine(batch_id)
        if batch.state not in ENDED:
            return 0  # its runner makes the report
        generations = self._batches.generations(batch_id)
        said = self._batches.reviews.log(batch, self._blobs, self._bucket)
        count = Assembly(
            blobs=self._blobs,
            bucket=self._bucket,
            batch=batch,
            generations=generations,
            decisions=said,
            on_part=lambda: None,
        )()
        logger.info("report made anew", decisions=count)
        return count
