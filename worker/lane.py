"""The one thread of a process that runs device work: torch's thread pool is made once, memory has one owner.

Job threads hand it work and wait on futures. Work runs a piece at a time, jobs in turn or one after the other as
``worker.order`` says. A ``Forward`` takes those along that wait with the same key, as many as its network has room for;
where several jobs hand in work and there is room left, the lane waits a moment for more, and jobs take turns: so they
come to the same network at the same time. What fails together is run again one by one, so that a bad item fails alone.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from pipeline.forward import Forward, together
from worker.lane_figures import LaneFigures, Tally
from worker.order import Standing, Usual, bring_forward

T = TypeVar("T")

logger = structlog.get_logger(__name__)

#: Work may take this many times what its like took before it counts as hung (design.md, section 2).
PATIENCE = 4.0
#: Weight of the newest measurement in the learned seconds per megapixel.
LEARNING_RATE = 0.3
#: How long the lane waits for more of a kind that it has room for (seconds): a fraction of a face's time on a GPU.
LINGER_S = 0.002
#: Of so many pieces the senders are remembered: when all came from one job, there is nobody to wait for.
SENDERS = 8


def _unheard(_seconds: float) -> None:
    """What nobody asked for."""


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
    on_spent: Callable[[float], object]
    standing: Standing | None

    def shares_with(self, other: _Item) -> bool:
        """Whether one run does both."""
        mine, theirs = self.work, other.work
        if not isinstance(mine, Forward) or not isinstance(theirs, Forward) or mine.key is None:
            return False
        return bool(mine.key == theirs.key and mine.room is theirs.room and self.label == other.label)

    @property
    def count(self) -> int:
        return len(self.work.inputs) if isinstance(self.work, Forward) else 1

    @property
    def room(self) -> int:
        """How many inputs its run has place for."""
        return self.work.room.size if isinstance(self.work, Forward) and self.work.key is not None else 1


class Lane:
    """One thread; ``submit`` from any other. Immutable settings, state behind one lock."""

    def __init__(
        self,
        *,
        floor_s: float,
        first_s: float,
        on_error: Callable[[BaseException], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        linger_s: float = LINGER_S,
    ) -> None:
        """``on_error`` hears what work raised before its job does: it may end the process."""
        self._on_error = on_error
        self._floor_s = floor_s
        self._first_s = first_s
        self._clock = clock
        self._linger_s = linger_s
        self._waiting: deque[_Item] = deque()
        self._senders: deque[int] = deque(maxlen=SENDERS)
        self._jobs = itertools.count()
        self._usual = Usual()
        self._is_shared = False  #: whether there was work that has room for other jobs'
        self._news = threading.Condition()
        self._computing: Computing | None = None
        self._seconds_per_megapixel: dict[str, float] = {}
        self._tally = Tally(clock)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[], T],
        *,
        megapixels: float,
        label: str,
        on_spent: Callable[[float], object] = _unheard,
        standing: Standing | None = None,
    ) -> Future[T]:
        """The future of ``work()``, run on the lane in its turn. A cancelled future is not run.

        A ``Forward`` may run earlier, together with one before it. ``on_spent`` hears, before the future is done, how
        long the device worked for it (seconds): of a run that several share, its share by inputs. ``standing`` is the
        job's own, one for all of its pieces; work without one runs after what was handed in before.

        Raises:
            LaneStopped: the lane takes no more work.
        """
        future: Future[T] = Future()
        with self._news:
            if self._stopped:
                raise LaneStopped("the lane was stopped")
            if standing is not None and standing.number < 0:
                standing.number = next(self._jobs)
            item = _Item(
                work=work, future=future, megapixels=megapixels, label=label, on_spent=on_spent, standing=standing
            )
            self._is_shared |= item.room > 1
            self._waiting.append(item)
            self._senders.append(threading.get_ident())
            self._news.notify()
        return future

    def ended(self, standing: Standing) -> None:
        """A job hands in no more; what it needed says what jobs usually do."""
        with self._news:
            self._usual.learn(standing.spent_s)

    def computing(self) -> Computing | None:
        """What is being computed now, if anything."""
        with self._news:
            return self._computing

    def overdue(self) -> Computing | None:
        """The work that has outlived its budget, if the current one has."""
        computing = self.computing()
        return computing if computing is not None and computing.overdue(self._clock()) else None

    def figures(self) -> LaneFigures:
        """How busy it was since it began, with what, and how full its runs were."""
        with self._news:
            return self._tally.figures()

    def budget_s(self, *, label: str, megapixels: float) -> float:
        """How long such work may take: what its like took, times ``PATIENCE``, never under the floor."""
        rate = self._seconds_per_megapixel.get(label)
        if rate is None:
            return max(self._first_s, self._floor_s)
        return max(self._floor_s, PATIENCE * rate * megapixels)

    def stop(self, *, timeout_s: float) -> bool:
        """Refuse new work, drop what waits, let the current piece end; whether it ended within ``timeout_s``."""
        with self._news:
            self._stopped = True
            dropped, self._waiting = self._waiting, deque()
            self._news.notify()
        for item in dropped:
            item.future.cancel()
            # Tells those that wait for it; a cancelled future alone is silent to some.
            item.future.set_running_or_notify_cancel()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (items := self._next()) is not None:
            if items:
                self._compute(items)
            # Else the work, and the pictures in it, would live until the next comes.
            del items

    def _next(self) -> list[_Item] | None:
        """What is to run now, as one; empty when it was cancelled meanwhile, None when there will be no more."""
        with self._news:
            while not self._waiting:
                if self._stopped:
                    return None
                self._news.wait()
            if not self._is_shared:
                bring_forward(self._waiting, standing_of=lambda item: item.standing, brief_s=self._usual.brief_s)
            first = self._waiting.popleft()
            # The check and the switch to "running" are one step: no cancelled future is computed for nobody.
            if not first.future.set_running_or_notify_cancel():
                return []
            items = [first]
            if first.room > first.count:
                self._fill(items)
            return items

    def _fill(self, items: list[_Item]) -> None:
        """Take along what shares a run with the first, and where others send too, wait a moment for it."""
        until = time.monotonic() + self._linger_s
        while True:
            self._take_along(items)
            rest_s = until - time.monotonic()
            is_full = sum(item.count for item in items) >= items[0].room
            if is_full or self._stopped or rest_s <= 0 or len(set(self._senders)) == 1:
                return
            self._news.wait(rest_s)

    def _take_along(self, items: list[_Item]) -> None:
        count = sum(item.count for item in items)
        left: deque[_Item] = deque()
        for item in self._waiting:
            fits = count + item.count <= items[0].room and items[0].shares_with(item)
            if not fits:
                left.append(item)
            elif item.future.set_running_or_notify_cancel():
                items.append(item)
                count += item.count
        self._waiting = left

    def _compute(self, items: Sequence[_Item]) -> None:
        """Run them as one; if that fails, each by itself."""
        started, work = self._begin(items), [item.work for item in items]
        try:
            results = [work[0]()] if len(work) == 1 else together([one for one in work if isinstance(one, Forward)])
        # A border: whatever one piece of work raises belongs to its own job; the lane goes on for the others.
        # SystemExit: libraries that call sys.exit() would end this thread, and every job would wait for ever.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._finish(items, started, learn=False)
            self._on_error(error)
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            logger.warning("pieces that failed together run again alone", count=len(items), error=str(error))
        else:
            self._finish(items, started, learn=True)
            for item, result in zip(items, results, strict=True):
                item.future.set_result(result)
            return
        for item in items:
            self._compute([item])

    def _begin(self, items: Sequence[_Item]) -> float:
        label, megapixels = items[0].label, sum(item.megapixels for item in items)
        budget_s = self.budget_s(label=label, megapixels=megapixels)
        started = self._clock()
        with self._news:
            self._computing = Computing(label=label, megapixels=megapixels, since=started, budget_s=budget_s)
        return started

    def _finish(self, items: Sequence[_Item], started: float, *, learn: bool) -> None:
        label, megapixels = items[0].label, sum(item.megapixels for item in items)
        seconds = self._clock() - started
        with self._news:
            self._computing = None
            count = sum(item.count for item in items)
            places = max(count, items[0].room)
            self._tally.add(label, seconds=seconds, items=count, places=places)
            spent = [seconds * item.count / count if count else 0.0 for item in items]
            for item, item_s in zip(items, spent, strict=True):
                if item.standing is not None:
                    item.standing.spent_s += item_s
        for item, item_s in zip(items, spent, strict=True):
            item.on_spent(item_s)
        if learn and megapixels > 0:
            rate = seconds / megapixels
            known = self._seconds_per_megapixel.get(label, rate)
            self._seconds_per_megapixel[label] = known + LEARNING_RATE * (rate - known)
