"""Putting right what was left behind: lapsed leases, passed deadlines, expired results and uploads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from jobs.errors import ObjectError
from jobs.model import ObjectRef
from jobs.store import Expired, SweepReport

logger = structlog.get_logger(__name__)

#: How many jobs of each kind one round deals with; keeps the script short.
LIMIT = 200


class Records(Protocol):
    """The part of the job store that the sweeper needs."""

    def sweep(self, *, limit: int) -> SweepReport: ...
    def expired_objects(self, *, limit: int) -> tuple[Expired, ...]: ...
    def forget_objects(self, expired: Sequence[Expired]) -> None: ...


class Objects(Protocol):
    """The part of the object storage that the sweeper needs."""

    def delete(self, refs: Sequence[ObjectRef]) -> None: ...


class Sweeper:
    """One round per ``step``; safe to run from several keepers."""

    def __init__(self, records: Records, objects: Objects) -> None:
        self._records = records
        self._objects = objects

    def step(self) -> None:
        report = self._records.sweep(limit=LIMIT)
        if report:
            logger.info("swept", **{name: count for name in SweepReport.__slots__ if (count := getattr(report, name))})
        self._delete_expired()

    def _delete_expired(self) -> None:
        expired = self._records.expired_objects(limit=LIMIT)
        if not expired:
            return
        for entry in expired:
            if entry.fault is not None:
                # Whoever can write to Redis must not have any object deleted; what really is one of ours is an orphan.
                logger.error("objects not deleted", entry=entry.member, error=entry.fault)
        try:
            self._objects.delete([ref for entry in expired for ref in entry.refs])
        except ObjectError as error:
            # Not forgotten, so offered again later.
            logger.warning("expired objects not deleted, trying again", count=len(expired), error=str(error))
            return
        self._records.forget_objects(expired)
        logger.info("expired objects deleted", entries=len(expired))
