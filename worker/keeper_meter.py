"""What a keeper tells Prometheus: that its loops go round, and how callbacks fare."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.metrics import catalogue, instruments
from jobs.metrics.instruments import Live

#: Outcome of a delivery that was not tried: too many are on their way to its receiver.
HELD = "held"


class KeeperMeter:
    """The figures of one keeper. Safe from several threads."""

    def __init__(self, *, shut: Callable[[], int] = lambda: 0) -> None:
        """``shut``: how many receivers are left alone now."""
        self.registry = instruments.new_registry("keeper")
        self._passed = instruments.gauge(catalogue.LOOP_PASSED, self.registry)
        self._failures = instruments.counter(catalogue.LOOP_FAILURES, self.registry)
        self._attempts = instruments.counter(catalogue.CALLBACK_ATTEMPTS, self.registry)
        self._lag = instruments.histogram(catalogue.CALLBACK_LAG, self.registry)
        Live(catalogue.CALLBACK_BREAKERS, lambda: {(): shut()}).collect_into(self.registry)

    def passed(self, loop: str, went_well: bool) -> None:
        """A round of this loop has ended."""
        if went_well:
            self._passed.labels(loop).set(time.time())
            # From the beginning, so that the first failure is an increase.
            self._failures.labels(loop)
        else:
            self._failures.labels(loop).inc()

    def attempted(self, outcome: str) -> None:
        """A delivery was tried, or put off."""
        self._attempts.labels(outcome).inc()

    def delivered(self, lag_s: float) -> None:
        """One arrived, so long after its event."""
        self.attempted("delivered")
        self._lag.observe(max(0.0, lag_s))
