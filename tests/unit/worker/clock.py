"""A clock that tests set."""

from __future__ import annotations


class FakeClock:
    """Seconds that pass only when told to; ``sleep`` passes them."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
