"""What becomes of the jobs of a process that died: the store hears at once, not when their leases end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from jobs.errors import StoreUnavailable
from jobs.model import JobId
from worker.exits import Exit

logger = structlog.get_logger(__name__)

#: How long a store that does not answer is told again (seconds), and how often. Longer than an outage that leases
#: survive; what has found another worker by then is not touched any more.
TRY_FOR_S = 300.0
TRY_EVERY_S = 1.0


class HeldJobs(Protocol):
    """The part of the job store that an aftermath needs."""

    def release_worker(self, worker: str, *, charge: bool, cause: str | None) -> Mapping[JobId, str]: ...


class Aftermath:
    """A thread of its own: a store that does not answer must not keep the supervisor from its processes."""

    def __init__(
        self,
        store: HeldJobs,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._ended: queue.SimpleQueue[tuple[str, Exit] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="aftermath", daemon=True)
        self._thread.start()

    def of(self, worker: str, ended: Exit) -> None:
        """See to the jobs that ``worker`` still holds."""
        self._ended.put((worker, ended))

    def close(self, *, timeout_s: float) -> None:
        """See to what is known so far, for so long."""
        self._ended.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (worker_and_exit := self._ended.get()) is not None:
            try:
                self._release(*worker_and_exit)
            # A border: this thread is the only one that tells of the dead, and the next must not wait for a lease.
            except Exception:
                logger.exception("jobs not released by a fault of ours; their leases lapse", worker=worker_and_exit[0])

    def _release(self, worker: str, ended: Exit) -> None:
        until = self._clock() + TRY_FOR_S
        while True:
            try:
                released = self._store.release_worker(worker, charge=ended.charge, cause=ended.cause)
            except StoreUnavailable as error:
                if self._clock() >= until:
                    logger.warning("jobs not released; their leases lapse", worker=worker, error=str(error))
                    return
                self._sleep(TRY_EVERY_S)
            else:
                for job_id, state in released.items():
                    logger.info("job released", job_id=job_id, worker=worker, state=str(state), cause=ended.cause)
                return
