"""Holding a job: beats while it makes progress, and noticing when it has to stop.

A beat thread renews the lease every third of its length. It renews only while the job is alive: device work inside its
budget, host work not silent for too long. Whoever cannot reach Redis for almost a lease stops by itself, before another
worker may start the same job (self-fencing); the epoch in every later write is the second guard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import structlog

from jobs.errors import JobNotFound, StoreUnavailable
from jobs.model import Job, JobId, Progress
from jobs.store import Beat
from pipeline.errors import Cancelled

logger = structlog.get_logger(__name__)

#: Beats per lease: two may fail before the lease is in danger.
BEATS_PER_LEASE = 3
#: Share of the lease that is kept as margin: past the rest, an unrenewed lease is treated as lost.
MARGIN = 0.2
#: Progress is told at most this often (seconds); beats cost a round trip.
TELL_EVERY_S = 0.3


class Stop(StrEnum):
    """Why a running job must stop."""

    CANCEL = "cancel"  #: its owner asked
    DEADLINE = "deadline"  #: nobody wants the result any more
    FENCED = "fenced"  #: another attempt owns it, or it is gone
    LOST = "lost"  #: Redis was out of reach for too long: we must assume the above
    HUNG = "hung"  #: it made no progress within its budget, so its lease was let go
    DRAIN = "drain"  #: this process is about to exit


#: After these the record is no longer ours to write.
NOT_OURS = frozenset({Stop.FENCED, Stop.LOST, Stop.HUNG})


class Stopped(Cancelled):
    """Raised inside a job, between its steps, when it must stop."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Beats(Protocol):
    """The part of the job store that a lease needs."""

    def beat(self, job_id: JobId, *, epoch: int, lease_s: float, progress: Progress | None) -> Beat: ...


_STOPS = {Beat.CANCEL: Stop.CANCEL, Beat.DEADLINE: Stop.DEADLINE, Beat.FENCED: Stop.FENCED}


class Lease:
    """One claimed job's lease. Use as a context manager: the beat thread lives inside it."""

    def __init__(
        self,
        store: Beats,
        job: Job,
        *,
        lease_s: float,
        claimed_at: float,
        is_alive: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``claimed_at``: by ``clock``, from before the claim was sent, so that our idea of the lease ends first."""
        self._store = store
        self.job = job
        self._lease_s = lease_s
        self._is_alive = is_alive
        self._clock = clock
        self._renewed_at = claimed_at
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._progress: Progress | None = None
        self._wake = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease {job.id[-8:]}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._wake.set()

    @property
    def progress(self) -> Progress | None:
        return self._progress

    @property
    def safe_until(self) -> float:
        """By ``clock``: past it the lease must be taken as lost unless it was renewed."""
        return self._renewed_at + self._lease_s * (1 - MARGIN)

    def stop(self, reason: Stop) -> None:
        """Make the job stop at its next step; the first reason counts."""
        with self._lock:
            self._stop = self._stop or reason

    @property
    def stopping(self) -> Stop | None:
        """Why the job has to stop, or None while it may go on."""
        if self._stop is None and self._clock() >= self.safe_until:
            self.stop(Stop.LOST)
        return self._stop

    def check(self) -> None:
        """Nothing, while the job may go on.

        Raises:
            Stopped: it may not.
        """
        if (reason := self.stopping) is not None:
            raise Stopped(reason)

    def tell(self, progress: Progress) -> None:
        """Note how far the job is; a percentage never falls. Sent with the next beat, which comes soon."""
        last = self._progress
        if last is not None and progress.percent < last.percent:
            progress = Progress(stage=progress.stage, percent=last.percent)
        if progress != last:
            self._progress = progress
            self._wake.set()

    def beat(self) -> None:
        """One beat; what it learns is kept for ``check``."""
        if not self._is_alive():
            logger.error("job hangs, its lease is let go", job_id=self.job.id, progress=self._progress)
            self.stop(Stop.HUNG)
            return
        sent_at = self._clock()
        try:
            answer = self._store.beat(self.job.id, epoch=self.job.epoch, lease_s=self._lease_s, progress=self._progress)
        except StoreUnavailable as error:
            left_s = round(self.safe_until - self._clock(), 1)
            logger.warning("beat failed, trying again", job_id=self.job.id, left_s=left_s, error=str(error))
            return
        except JobNotFound:
            self.stop(Stop.FENCED)
            return
        if answer is Beat.OK:
            self._renewed_at = sent_at
        else:
            self.stop(_STOPS[answer])

    def _run(self) -> None:
        every_s = self._lease_s / BEATS_PER_LEASE
        while not self._done.is_set():
            self._wake.wait(every_s)
            self._wake.clear()
            if self._done.is_set() or self.stopping is not None:
                return
            self.beat()
            self._done.wait(min(TELL_EVERY_S, every_s))
