"""Memory that grows: a process that leaks is started anew between jobs, and one that takes too much ends at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from worker import memory

logger = structlog.get_logger(__name__)

#: Looks over which the device's memory must never have been below its limit: what jobs use comes and goes, a leak
#: stays. At two looks a second, a minute.
LOOKS = 120
#: A process may grow to so many times what it holds when it is ready: a lower limit would start it anew for ever.
LEAST_GROWTH = 1.25


class Growth:
    """Compares what this process holds with what it may hold."""

    def __init__(
        self,
        *,
        recycle_mb: float | None,
        limit_mb: float | None,
        recycle_device_share: float,
        device_share: Callable[[], float],
        rss_mb: Callable[[], float] = memory.rss_mb,
        give_back: Callable[[], None] = memory.give_back,
    ) -> None:
        """``device_share``: of the GPU's memory that is allocated here, 0 to 1."""
        self._give_back = give_back
        self._recycle_mb = recycle_mb
        self._limit_mb = limit_mb
        self._recycle_device_share = recycle_device_share
        self._device_share = device_share
        self._rss_mb = rss_mb
        self._is_settled = False
        self._shares: deque[float] = deque(maxlen=LOOKS)

    def settle(self) -> None:
        """This process is ready: what it holds now is what it needs."""
        needed_mb = LEAST_GROWTH * self._rss_mb()
        if self._recycle_mb is not None and self._recycle_mb < needed_mb:
            logger.warning("PHOTOMEND_RECYCLE_MB is too low for this process", mb=self._recycle_mb, used_mb=needed_mb)
            self._recycle_mb = needed_mb
        self._is_settled = True

    def look(self) -> None:
        """Note what the device holds now; called over and over."""
        self._shares.append(self._device_share())

    def reason_to_leave(self) -> str | None:
        """Why this process should be started anew when it has nothing to do, if it should."""
        if not self._is_settled:
            return None
        held_mb = self._rss_mb()
        if self._recycle_mb is not None and held_mb > self._recycle_mb:
            return f"{held_mb:.0f} MB are held, more than PHOTOMEND_RECYCLE_MB = {self._recycle_mb:.0f}"
        lowest = min(self._shares, default=0.0)
        if len(self._shares) == LOOKS and lowest > self._recycle_device_share:
            return f"{lowest:.0%} of the GPU's memory stay allocated"
        return None

    def reason_that_stays(self) -> str | None:
        """The same, after what the allocator kept of earlier jobs went back; for a process without jobs."""
        self._give_back()
        return self.reason_to_leave()

    def reason_to_stop(self) -> str | None:
        """Why this process must end now, in the middle of its work, if it must."""
        held_mb = self._rss_mb()
        if self._limit_mb is not None and held_mb > self._limit_mb:
            return f"{held_mb:.0f} MB are held, more than PHOTOMEND_MEMORY_LIMIT_MB = {self._limit_mb:.0f}"
        return None
