"""A process that looks at itself, and leaves when it is no good any more: hung, out of bounds, with a lost device."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from jobs.errors import StoreUnavailable
from worker.drain import Releases, release
from worker.exits import DEVICE_LOST, EXIT_DEVICE_LOST, EXIT_HUNG, EXIT_MEMORY, EXIT_RECYCLED, HANG
from worker.flight import Flights
from worker.growth import Growth
from worker.lane import Computing, Lane
from worker.lease import Stop
from worker.settings import WorkerSettings

logger = structlog.get_logger(__name__)

#: How often a process looks at itself (seconds).
LOOK_EVERY_S = 0.5
#: Processes of one machine that have grown leave so far apart (seconds), about as long as one takes to come back.
RECYCLE_APART_S = 30.0


class WatchStore(Releases, Protocol):
    """The part of the job store that a watch needs."""

    def lock(self, name: str, *, ttl_s: float) -> bool: ...


class Process(Protocol):
    """What is watched, as far as it goes beyond lane and flights."""

    @property
    def is_busy(self) -> bool: ...
    @property
    def is_leaving(self) -> bool: ...
    def leave(self, *, status: int) -> None:
        """Begin to leave in good order."""

    def say_what_it_takes(self) -> None:
        """Publish the slots anew."""


class Watch:
    """A thread over one process."""

    def __init__(
        self,
        process: Process,
        *,
        settings: WorkerSettings,
        store: WatchStore,
        lane: Lane,
        flights: Flights,
        growth: Growth,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._process = process
        self._settings = settings
        self._store = store
        self._lane = lane
        self._flights = flights
        self._growth = growth
        self._exit_process = exit_process
        self._is_retiring = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    @property
    def is_retiring(self) -> bool:
        """Whether nothing new should be taken, so that this process becomes empty and can be started anew."""
        return self._is_retiring

    def step(self) -> None:
        """One look."""
        if (why := self._growth.reason_to_stop()) is not None:
            # Its jobs are left as they are: the supervisor reads from the exit status what they are suspected of.
            logger.error("leaving at once", why=why)
            self._exit_process(EXIT_MEMORY)
        if (computing := self._lane.overdue()) is not None:
            self._leave_hung_lane(computing)
        if self._process.is_leaving:
            return
        supervisor = self._settings.supervisor_pid
        if hung := [flight for flight in self._flights.all() if flight.lease.stopping is Stop.HUNG]:
            for flight in hung:
                release(self._store, flight, charge=True, cause=HANG)
            self._leave("a job hangs outside the lane", status=EXIT_HUNG)
        elif supervisor is not None and os.getppid() != supervisor:
            self._leave("the supervisor is gone", status=0)
        else:
            self._retire_if_grown()

    def leave_with_lost_device(self, error: BaseException) -> None:
        """Leave under the lane, before the job hears of its error: with this device, all jobs after it would fail too.

        The job whose work met the error runs alone from now on, so that it takes no others with it, and is charged, so
        that one that breaks every device ends at its last attempt. A device that stays broken does not pass the next
        process' warm-up, and so charges nobody.
        """
        logger.error("the device is lost, leaving", error=f"{type(error).__name__}: {error}")
        self._release_all(guilty_of=DEVICE_LOST)
        self._exit_process(EXIT_DEVICE_LOST)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            self.step()

    def _leave(self, why: str, *, status: int) -> None:
        logger.error("leaving", why=why)
        self._process.leave(status=status)

    def _leave_hung_lane(self, computing: Computing) -> None:
        """End the process under device work that cannot be stopped; only the job that it belongs to is charged."""
        logger.error("device work hangs, leaving", stage=computing.label, budget_s=round(computing.budget_s, 1))
        self._release_all(guilty_of=HANG)
        self._exit_process(EXIT_HUNG)

    def _release_all(self, *, guilty_of: str) -> None:
        """Put all jobs back; the one that the lane works on is charged, and accused of this."""
        for flight in self._flights.all():
            is_guilty = flight.pulse.is_computing
            release(self._store, flight, charge=is_guilty, cause=guilty_of if is_guilty else None)

    def _retire_if_grown(self) -> None:
        """Take nothing new once memory has grown, and leave when that makes this process empty."""
        self._growth.look()
        why = self._growth.reason_to_leave()
        if not self._is_retiring:
            if why is None or not self._may_retire():
                return
            logger.info("finishing what there is, to be started anew", why=why)
            self._is_retiring = True
            self._process.say_what_it_takes()
        if self._process.is_busy:
            return
        if why is not None:
            why = self._growth.reason_that_stays()
        if why is not None:
            self._leave(why, status=EXIT_RECYCLED)
        else:
            # It was the jobs' own, and went with them.
            self._is_retiring = False
            self._process.say_what_it_takes()

    def _may_retire(self) -> bool:
        try:
            return self._store.lock(f"recycle:{self._settings.node_name}", ttl_s=RECYCLE_APART_S)
        except StoreUnavailable:
            return False
