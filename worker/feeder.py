"""Matching free slots with waiting jobs: as many ids go to Celery as there are threads to take them, no more.

So Celery's queues stay all but empty, priorities and fairness are decided at the last moment, and a lost queue costs
nothing but the re-sending of a handful of ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from jobs.model import JobId, Priority
from jobs.queue import QUEUES
from jobs.store import Slots

logger = structlog.get_logger(__name__)

#: Workers with at least so many threads keep one of them for jobs that a person waits for.
RESERVES_FROM = 2
#: How much of its guaranteed share a lane may be behind, in jobs; more would be a burst at the others' cost.
MAX_OWED = 4.0
#: How often lost messages are looked for (seconds), and how many are sent again at a time.
RESEND_EVERY_S = 1.0
RESEND_LIMIT = 200


class Backlogs(Protocol):
    """The part of the job store that the feeder needs."""

    def slots(self) -> tuple[Slots, ...]: ...
    def counts(self) -> dict[str, int]: ...
    def take(self, *, credits: int, priority: Priority) -> tuple[JobId, ...]: ...
    def overdue_sent(self, *, limit: int, priorities: Sequence[Priority]) -> tuple[tuple[JobId, Priority], ...]: ...


class Messages(Protocol):
    """Where ids are sent."""

    def send(self, job_id: JobId, queue: str) -> None: ...
    def depth(self, queue: str) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many jobs may be sent now."""

    all: int  #: of any priority
    batch: int  #: of these, at most so many batch jobs, unless their guaranteed share is due


def room(slots: Iterable[Slots], *, sent: int) -> Room:
    """The free slots of all workers, less the jobs on their way to them."""
    working = [s for s in slots if not s.draining]
    free = sum(max(0, s.free) for s in working)
    kept = sum(1 for s in working if s.total >= RESERVES_FROM and s.free > 0)
    return Room(all=max(0, free - sent), batch=max(0, free - kept - sent))


class Feeder:
    """Sends job ids to Celery. Several may run: taking is atomic, and a doubled message finds nothing to claim."""

    def __init__(
        self,
        backlogs: Backlogs,
        messages: Messages,
        *,
        batch_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backlogs = backlogs
        self._messages = messages
        # So many batch jobs per interactive one make up the share.
        self._per_interactive = batch_share / (1 - batch_share)
        self._owed = 0.0
        self._clock = clock
        self._resend_at = clock()

    def step(self) -> int:
        """Send what there is room for; how many were sent."""
        self._resend()
        slots = self._backlogs.slots()
        if not any(s.free > 0 for s in slots):
            return 0
        counts = self._backlogs.counts()
        now = room(slots, sent=sum(counts[f"sent_{priority}"] for priority in Priority))
        if now.all == 0:
            return 0
        guaranteed = self._send(Priority.BATCH, min(now.all, int(self._owed)))
        interactive = self._send(Priority.INTERACTIVE, now.all - guaranteed)
        left = min(now.batch - guaranteed - interactive, now.all - guaranteed - interactive)
        further = self._send(Priority.BATCH, left)
        self._account(interactive=interactive, batch=guaranteed + further)
        return guaranteed + interactive + further

    def _send(self, priority: Priority, credits: int) -> int:
        if credits <= 0:
            return 0
        taken = self._backlogs.take(credits=credits, priority=priority)
        for job_id in taken:
            # What fails here is marked as sent all the same, and so is sent again when it is not claimed.
            self._messages.send(job_id, QUEUES[priority])
        return len(taken)

    def _account(self, *, interactive: int, batch: int) -> None:
        owed = self._owed + self._per_interactive * interactive - batch
        self._owed = min(max(owed, 0.0), MAX_OWED)

    def _resend(self) -> None:
        """Send again what nobody claimed though its queue is empty: the message was lost."""
        if self._clock() < self._resend_at:
            return
        self._resend_at = self._clock() + RESEND_EVERY_S
        sent = self._backlogs.counts()
        empty = [p for p in Priority if sent[f"sent_{p}"] and self._messages.depth(QUEUES[p]) == 0]
        if not empty:
            return
        overdue = self._backlogs.overdue_sent(limit=RESEND_LIMIT, priorities=empty)
        for job_id, priority in overdue:
            self._messages.send(job_id, QUEUES[priority])
        if overdue:
            logger.warning("unclaimed jobs sent again", count=len(overdue))
