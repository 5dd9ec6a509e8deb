"""Matching free slots with waiting jobs: as many ids go to Celery as there are threads to take them, no more.

So Celery's queues stay all but empty, priorities and fairness are decided at the last moment, and a lost queue costs
nothing but the re-sending of a handful of ids. The store nudges the feeder when a job has come that there is room for,
or room for one that waits; what a nudge missed, the next timed round finds.
"""

from __future__ import annotations

import math
import time
from collections import deque
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
#: So many suspects have one worker to run them alone; no more than this share of the workers (at least one) does so.
SUSPECTS_PER_WORKER = 8
SECLUDED_SHARE = 0.25
#: A worker that was there so recently (seconds) and is not now counts as one of these: its suspect may have ended it,
#: and one after the other would be gone before the first is back.
MISSED_FOR_S = 60.0
#: After a round the feeder rests for this long (seconds), or for so many times as long as the round took: nudges come
#: with every job, and many jobs at once are one round's work.
REST_S = 0.002
REST_SHARE = 2.0
#: Share of the time between timed rounds for which one keeps other keepers out of theirs.
LOCK_SHARE = 0.9
#: How long a chosen worker may take to say that it lives (seconds); from then on its own word counts.
SECLUSION_S = 30.0


class Backlogs(Protocol):
    """The part of the job store that the feeder needs."""

    def slots(self) -> tuple[Slots, ...]: ...
    def counts(self) -> dict[str, int]: ...
    def take(self, *, credits: int, priority: Priority, sent: int | None = None) -> tuple[JobId, ...]: ...
    def seclude(self, worker: str, *, limit: int, ttl_s: float) -> bool: ...
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


def secluded(slots: Sequence[Slots], *, suspects: int, others_wait: bool, missing: int = 0) -> tuple[str | None, int]:
    """Which worker should run a suspect next, if any can, and how many may do so at a time.

    The idlest is chosen, since it must finish first what it has. While other jobs wait, one that has just run a suspect
    has rest, so that not even a fleet of one worker does nothing else; and ``missing`` workers, which were there until
    a moment ago, are waited for.
    """
    able = [s for s in slots if not s.draining and (s.rested or not others_wait)]
    chosen = max(able, key=lambda s: (s.free / max(1, s.total), s.worker), default=None)
    limit = max(1, int(SECLUDED_SHARE * (len(slots) + missing))) - (missing if others_wait else 0)
    return chosen.worker if chosen else None, min(math.ceil(suspects / SUSPECTS_PER_WORKER), max(0, limit))


class Attendance:
    """How many workers are missing: there until a moment ago, and not now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()  #: since when so many were there; the larger the earlier

    def missing(self, present: int) -> int:
        """Of the most that were there in the last ``MISSED_FOR_S``."""
        now = self._clock()
        while self._counts and self._counts[-1][1] <= present:
            self._counts.pop()
        self._counts.append((now, present))
        while self._counts[0][0] < now - MISSED_FOR_S:
            self._counts.popleft()
        return self._counts[0][1] - present


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
        self._attendance = Attendance(clock)

    def step(self) -> int:
        """Send what there is room for; how many were sent."""
        self._resend()
        slots = self._backlogs.slots()
        if not slots:
            return 0
        counts = self._backlogs.counts()
        self._seclude(slots, counts)
        if not any(s.free > 0 for s in slots):
            return 0
        sent = sum(counts[f"sent_{priority}"] for priority in Priority)
        now = room(slots, sent=sent)
        if now.all == 0:
            return 0
        guaranteed = self._send(Priority.BATCH, min(now.all, int(self._owed)), sent)
        interactive = self._send(Priority.INTERACTIVE, now.all - guaranteed, sent + guaranteed)
        left = min(now.batch - guaranteed - interactive, now.all - guaranteed - interactive)
        further = self._send(Priority.BATCH, left, sent + guaranteed + interactive)
        self._account(interactive=interactive, batch=guaranteed + further)
        return guaranteed + interactive + further

    def _seclude(self, slots: Sequence[Slots], counts: dict[str, int]) -> None:
        missing = self._attendance.missing(len(slots))
        if not (suspects := counts["waiting_suspect"]):
            return
        others_wait = any(counts[f"waiting_{priority}"] for priority in Priority)
        worker, limit = secluded(slots, suspects=suspects, others_wait=others_wait, missing=missing)
        if (
            worker is not None
            and counts["secluded"] < limit
            and self._backlogs.seclude(worker, limit=limit, ttl_s=SECLUSION_S)
        ):
            logger.info("worker chosen to run a suspect alone", worker=worker, suspects=suspects)

    def _send(self, priority: Priority, credits: int, sent: int) -> int:
        if credits <= 0:
            return 0
        # Another keeper's feeder may be at it too: what it sent since ``sent`` was read fills the same room.
        taken = self._backlogs.take(credits=credits, priority=priority, sent=sent)
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


class Nudges(Protocol):
    """The part of the job store that says when a feeder should look."""

    def nudged(self, *, within_s: float) -> bool: ...
    def lock(self, name: str, *, ttl_s: float) -> bool: ...


class Rounds:
    """When a feeder looks: at each nudge, which one keeper hears, and in turn with other keepers every so often."""

    def __init__(
        self,
        nudges: Nudges,
        feed: Callable[[], object],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._nudges = nudges
        self._feed = feed
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep

    def step(self) -> None:
        """Wait until it is time, and look if it is this keeper's turn."""
        if not self._nudges.nudged(within_s=self._every_s) and not self._nudges.lock(
            "feeder", ttl_s=self._every_s * LOCK_SHARE
        ):
            return
        began = self._clock()
        self._feed()
        self._sleep(max(REST_S, REST_SHARE * (self._clock() - began)))
