"""The one thread of a process that runs device work, in order, one piece at a time.

Job threads hand it closures and wait on futures, so that torch's thread pool is made once, the device's memory has one
owner, and batching across jobs can come in behind the same ``submit``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

logger = structlog.get_logger(__name__)

#: Work may take this many times what its like took before it counts as hung (design.md, section 2).
PATIENCE = 4.0
#: Weight of the newest measurement in the learned seconds per megapixel.
LEARNING_RATE = 0.3


class LaneStopped(RuntimeError):
    """Raised when work is handed to a lane that was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """What the lane is at, for heartbeats: slow is inside the budget, hung is not."""

    label: str
    megapixels: float
    since: float  #: by the lane's clock
    budget_s: float

    def overdue(self, now: float) -> bool:
        return now - self.since > self.budget_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    work: Callable[[], Any]
    future: Future[Any]
    megapixels: float
    label: str


class Lane:
    """One thread; ``submit`` from any other. Immutable settings, state behind one lock."""

    def __init__(self, *, floor_s: float, first_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor_s = floor_s
        self._first_s = first_s
        self._clock = clock
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._computing: Computing | None = None
        self._seconds_per_megapixel: dict[str, float] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], *, megapixels: float, label: str) -> Future[T]:
        """The future of ``work()``, run on the lane after what was handed in before. A cancelled future is not run.

        Raises:
            LaneStopped: the lane takes no more work.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                raise LaneStopped("the lane was stopped")
            self._queue.put(_Item(work=work, future=future, megapixels=megapixels, label=label))
        return future

    def computing(self) -> Computing | None:
        """What is being computed now, if anything."""
        with self._lock:
            return self._computing

    def overdue(self) -> Computing | None:
        """The work that has outlived its budget, if the current one has."""
        computing = self.computing()
        return computing if computing is not None and computing.overdue(self._clock()) else None

    def budget_s(self, *, label: str, megapixels: float) -> float:
        """How long such work may take: what its like took, times ``PATIENCE``, never under the floor."""
        rate = self._seconds_per_megapixel.get(label)
        if rate is None:
            return max(self._first_s, self._floor_s)
        return max(self._floor_s, PATIENCE * rate * megapixels)

    def stop(self, *, timeout_s: float) -> bool:
        """Refuse new work, drop what waits, let the current piece end; whether it ended within ``timeout_s``."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._stopped:
                item.future.cancel()
            # The check and the switch to "running" are one step: no cancelled future is computed for nobody.
            elif item.future.set_running_or_notify_cancel():
                self._compute(item)
            # Else the closure, and the pictures in it, would live until the next item comes.
            del item

    def _compute(self, item: _Item) -> None:
        started = self._clock()
        budget_s = self.budget_s(label=item.label, megapixels=item.megapixels)
        with self._lock:
            self._computing = Computing(label=item.label, megapixels=item.megapixels, since=started, budget_s=budget_s)
        try:
            result = item.work()
        # A border: whatever one piece of work raises belongs to its own job; the lane goes on for the others.
        # SystemExit: libraries that call sys.exit() would end this thread, and every job would wait for ever.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._finish(item, started, learn=False)
            item.future.set_exception(error)
        else:
            self._finish(item, started, learn=True)
            item.future.set_result(result)

    def _finish(self, item: _Item, started: float, *, learn: bool) -> None:
        seconds = self._clock() - started
        with self._lock:
            self._computing = None
        if learn and item.megapixels > 0:
            rate = seconds / item.megapixels
            known = self._seconds_per_megapixel.get(item.label, rate)
            self._seconds_per_megapixel[item.label] = known + LEARNING_RATE * (rate - known)
