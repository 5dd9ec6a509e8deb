"""Leaving in good order: finish what fits into the grace period, give the rest back uncharged, be gone in time.

Threads cannot be stopped from outside, so jobs are asked at their steps; whoever does not answer is released over its
head (its later writes are fenced by the epoch) and the process exits under it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from jobs.errors import IllegalMove, JobNotFound, StoreUnavailable
from jobs.model import Job, JobId
from worker.flight import Flight, Flights
from worker.lease import Stop

logger = structlog.get_logger(__name__)

#: Shares of the grace period, with their longest length in seconds: for jobs to answer when asked to stop, and for the
#: rest to be released over their heads.
ANSWER = (0.2, 3.0)
RELEASE = (0.2, 1.5)
#: Two requests closer than this are one: a terminal and a supervisor may both pass the same signal on (seconds).
SAME_REQUEST_S = 1.0
LOOK_EVERY_S = 0.1


class Releases(Protocol):
    """The part of the job store that a drain needs."""

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: str | None = None) -> Job: ...


class Drain:
    """A thread that sleeps until the process is told to go."""

    def __init__(
        self,
        store: Releases,
        flights: Flights,
        *,
        grace_s: float,
        is_busy: Callable[[], bool],
        on_begin: Callable[[], None],
        exit_process: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._flights = flights
        self._grace_s = grace_s
        self._is_busy = is_busy
        self._on_begin = on_begin
        self._exit_process = exit_process
        self._clock = clock
        self._asked_at: float | None = None
        self._hurried = False
        self._status = 0
        self._begun = threading.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked_at is not None

    @property
    def status(self) -> int:
        """With which the process should exit."""
        return self._status

    def start(self) -> None:
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def ask(self, *, status: int = 0) -> None:
        """Begin to leave; asked a second time, leave at once. Safe in a signal handler: no locks of ours, no I/O."""
        now = self._clock()
        if self._asked_at is None:
            self._asked_at = now
            self._status = status
        elif now - self._asked_at >= SAME_REQUEST_S:
            self._hurried = True
        self._begun.set()

    def _run(self) -> None:
        self._begun.wait()
        until = (self._asked_at or self._clock()) + self._grace_s
        threading.Thread(target=self._leave_at, args=(until,), name="leave", daemon=True).start()
        flights = self._flights.all()
        logger.info("draining", jobs=len(flights), grace_s=self._grace_s)
        self._on_begin()
        answer_s, release_s = (min(share * self._grace_s, most) for share, most in (ANSWER, RELEASE))
        self._wait(until - release_s, ask_at=until - release_s - answer_s)
        if self._is_busy():
            self._release_all()
            self._leave()

    def _wait(self, until: float, *, ask_at: float) -> None:
        """Until no job is left or the time is up; asks those to stop that would not be done before ``ask_at``."""
        while self._is_busy() and self._clock() < until:
            if self._hurried:
                until, ask_at, self._hurried = min(until, self._clock() + ANSWER[1]), self._clock(), False
            left_s = ask_at - self._clock()
            for flight in self._flights.all():
                if left_s <= 0 or not flight.fits(left_s):
                    flight.lease.stop(Stop.DRAIN)
            time.sleep(max(0.0, min(LOOK_EVERY_S, until - self._clock())))

    def _release_all(self) -> None:
        for flight in self._flights.all():
            release(self._store, flight, charge=False)

    def _leave_at(self, until: float) -> None:
        # Celery waits for its threads without limit, and a Redis that does not answer blocks ours: neither may
        # keep the process beyond its grace, or whoever asked will kill it harder.
        time.sleep(max(0.0, until - self._clock()))
        self._leave()

    def _leave(self) -> None:
        logger.info("gone", status=self._status)
        self._exit_process(self._status)


def release(store: Releases, flight: Flight, *, charge: bool, cause: str | None = None) -> None:
    """Put a flight's job back over its thread's head, with the ``cause`` by which it ends this process if it does."""
    job = flight.job
    try:
        store.release(job.id, epoch=job.epoch, charge=charge, cause=cause)
    except (IllegalMove, JobNotFound):
        return  # it ended in the meantime
    except StoreUnavailable as error:
        logger.warning("job not released; its lease will lapse", job_id=job.id, error=str(error))
    else:
        logger.info("job released", job_id=job.id, charged=charge, cause=cause)
