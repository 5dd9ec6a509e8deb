"""Trying again: within a deadline, with jitter, and from a budget that all callers share.

Clients that each try four times make an outage four times worse at its worst moment. So retries are paid for by first
tries: over any stretch of time they stay a fixed share of them, whatever fails (as Finagle's retry budgets). The quota
of botocore's standard mode begins with a hundred retries for nothing and knows neither deadline nor Retry-After.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from jobs.errors import StorageUnavailable

T = TypeVar("T")

#: Tries of one call, the first included.
TRIES = 4
#: Retries that each first try pays for. With the reserve, n calls send at most 1.15 n + 10 requests.
RETRY_SHARE = 0.15
#: Retries that nobody has paid for yet, so that a lone hiccup is ridden out; also the most that are saved up.
RETRY_RESERVE = 10.0
#: The wait before a retry is anything up to the first of these, doubled for each further one, up to the second
#: (seconds).
BACKOFF_S = (0.5, 5.0)


class Passing(StorageUnavailable):
    """Raised when the same request may go better soon: throttled, a failing server, a broken line."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        #: What the server asked for; 0 = nothing.
        self.retry_after_s = retry_after_s


class RetryBudget:
    """How many retries may still be made; shared by threads."""

    def __init__(self, *, share: float = RETRY_SHARE, reserve: float = RETRY_RESERVE) -> None:
        self._share = share
        self._reserve = reserve
        self._left = reserve
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A first try is made."""
        with self._lock:
            self._left = min(self._left + self._share, self._reserve)

    def spend(self) -> bool:
        """Whether a retry may be made."""
        with self._lock:
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class Deadline:
    """When a call must be over, retries included."""

    def __init__(self, within_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + within_s

    def extend(self, further_s: float) -> None:
        self._until += further_s

    @property
    def left_s(self) -> float:
        return self._until - self._clock()


def persistently(
    call: Callable[[Deadline], T],
    *,
    budget: RetryBudget,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    rng: random.Random | None = None,
) -> T:
    """What ``call`` returns, tried again while its trouble is ``Passing``, time is left and the budget allows it.

    Raises:
        StorageUnavailable: the last try's own error.
    """
    deadline = Deadline(within_s, clock=clock)
    budget.earn()
    for attempt in range(1, TRIES + 1):
        try:
            return call(deadline)
        except Passing as trouble:
            first_s, longest_s = BACKOFF_S
            wait_s = (rng or random).uniform(0.0, min(first_s * 2 ** (attempt - 1), longest_s))
            wait_s = max(wait_s, trouble.retry_after_s)
            if attempt == TRIES or wait_s >= deadline.left_s or not budget.spend():
                raise
            sleep(wait_s)
    raise AssertionError("this is a bug: the last try returns or raises")
