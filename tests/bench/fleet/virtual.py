"""Virtual time: processes that run in turn, each until it waits, on a clock that jumps to the next one that is due.

A process is a greenlet, so that the product's own blocking code runs in it as it is: handed ``Hub.sleep`` for a sleep
and ``Hub.clock`` for a clock, it waits without any real second passing. With the same seed everything happens in the
same order.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet


def computing_s() -> float:
    """Of this process, all threads."""
    return time.process_time()


class Machine:
    """What processes live on: once it is dead, none of them runs again, whatever it waits for."""

    def __init__(self) -> None:
        self.is_alive = True


class _Process(greenlet):
    machine: Machine | None = None


class _Turn:
    """A process' wish to go on; the first of several that comes up counts."""

    __slots__ = ("is_over", "is_woken", "process")

    def __init__(self, process: Any) -> None:
        self.process = process
        self.is_over = self.is_woken = False


class Hub:
    """The clock, and who is due when."""

    def __init__(self, now: float) -> None:
        """``now``: seconds since 1970, where virtual time begins."""
        self.now = self.began = now
        #: When the process that runs now went on, in this process' computing time.
        self.resumed_at = 0.0
        self._due: list[tuple[float, int, _Turn]] = []
        self._order = itertools.count()
        self._main = getcurrent()

    def clock(self) -> float:
        return self.now

    @property
    def is_inside(self) -> bool:
        """Whether the caller is a process, so that it can wait."""
        return isinstance(getcurrent(), _Process)

    def spawn(
        self, run: Callable[..., object], *args: Any, machine: Machine | None = None, after_s: float = 0.0
    ) -> None:
        process = _Process(run, parent=self._main)
        process.machine = machine
        first = _Turn(process)
        # What `switch` hands over at the first turn are the arguments.
        first.process = _Start(process, args)
        self._push(self.now + after_s, first)

    def sleep(self, seconds: float) -> None:
        self.sleep_until(self.now + seconds)

    def sleep_until(self, then: float) -> None:
        self._push(max(then, self.now), _Turn(getcurrent()))
        self._main.switch()

    def run(self, until: float) -> None:
        """Let virtual time pass; an exception of a process comes out here."""
        while self._due and self._due[0][0] <= until:
            self.now, _, turn = heapq.heappop(self._due)
            machine = turn.process.machine
            if not turn.is_over and (machine is None or machine.is_alive):
                turn.is_over = True
                self.resumed_at = computing_s()
                turn.process.switch()
        self.now = until

    def _push(self, then: float, turn: _Turn) -> None:
        heapq.heappush(self._due, (then, next(self._order), turn))


class _Start:
    def __init__(self, process: _Process, args: tuple[Any, ...]) -> None:
        self.machine = process.machine
        self._process, self._args = process, args

    def switch(self) -> None:
        self._process.switch(*self._args)


class Signal:
    """Wakes those who wait, one for each call, the longest-waiting first."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: deque[_Turn] = deque()

    @property
    def is_awaited(self) -> bool:
        while self._waiting and self._waiting[0].is_over:
            self._waiting.popleft()
        return bool(self._waiting)

    def wait(self, timeout_s: float) -> bool:
        """Whether it was woken."""
        turn = _Turn(getcurrent())
        self._waiting.append(turn)
        self._hub._push(self._hub.now + timeout_s, turn)
        self._hub._main.switch()
        return turn.is_woken

    def wake(self) -> None:
        if self.is_awaited:
            turn = self._waiting.popleft()
            turn.is_woken = True
            self._hub._push(self._hub.now, turn)


class Server:
    """Something that does one thing at a time, in the order in which it was asked: a Redis, a GPU, an interpreter."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._free_at = 0.0
        self.busy_s = 0.0

    def reserve(self, seconds: float) -> float:
        """When so many seconds of it begin, which are the caller's from now on; nothing is waited for."""
        begins = max(self._hub.now, self._free_at)
        self._free_at = begins + seconds
        self.busy_s += seconds
        return begins

    def use(self, seconds: float) -> None:
        """Wait for it, and have it for so long."""
        self._hub.sleep_until(self.reserve(seconds) + seconds)
