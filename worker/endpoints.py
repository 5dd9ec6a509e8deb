"""Keeping one receiver's trouble from everybody else: how many deliveries it may hold, and when it is not even tried.

Pure bookkeeping of one keeper, by origin (scheme, host and port: what is down or slow is a server). Two rules:

- An origin holds a share of the threads and no more. What comes on top is put in line behind those, a moment apart
  for as long as one of them takes, so that ten thousand deliveries to a slow receiver do not come back every second.
- An origin that answered nothing several times running is shut: what is due to it meanwhile counts as failed and takes
  the next step of its schedule without a thread waiting for it. After a while one delivery tries whether it is back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Deliveries without any answer, one after the other, that shut an origin.
SILENCES_TO_SHUT = 3
#: The shortest and the longest time that a delivery is put in line for (seconds): the line may get shorter.
HOLD_S = (0.5, 60.0)
#: Weight of the latest delivery in the idea of how long one takes.
NEWS = 0.3
#: Origins remembered; past it, those that nothing goes to are forgotten, whatever they did.
MAX_ORIGINS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Not now: others of its origin are on their way."""

    for_s: float


class Shut:
    """Not at all: its origin does not answer."""


@dataclass(slots=True)
class _Origin:
    busy: int = 0
    silences: int = 0
    shut_until: float = 0.0
    quiet_until: float = 0.0  #: as it asked
    took_s: float = 1.0  #: one delivery, lately
    line_ends_at: float = 0.0  #: when those that were put off will be through


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Endpoints:
    """Asked before each delivery, told after it. Safe from several threads."""

    def __init__(self, *, at_a_time: int, shut_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``at_a_time``: deliveries to one origin; ``shut_s``: how long a silent one is left alone."""
        self._at_a_time = at_a_time
        self._shut_s = shut_s
        self._clock = clock
        self._origins: dict[str, _Origin] = {}
        self._lock = threading.Lock()

    def enter(self, url: str) -> Hold | Shut | None:
        """None: go ahead, and say ``leave`` afterwards."""
        with self._lock:
            origin = self._known(origin_of(url))
            now = self._clock()
            is_suspect = origin.silences >= SILENCES_TO_SHUT
            if is_suspect and (now < origin.shut_until or origin.busy):
                return Shut()
            if origin.busy >= self._at_a_time or now < origin.quiet_until:
                return Hold(for_s=self._place_in_line(origin, now))
            origin.busy += 1
            return None

    def leave(self, url: str, *, took_s: float, answered: bool, quiet_s: float = 0.0) -> None:
        """The delivery has ended.

        ``answered``: whether anything was heard, a refusal too; ``quiet_s``: how long it asked to be left alone.
        """
        with self._lock:
            name = origin_of(url)
            origin = self._origins[name]
            origin.busy -= 1
            origin.took_s += NEWS * (took_s - origin.took_s)
            origin.silences = 0 if answered else origin.silences + 1
            now = self._clock()
            origin.shut_until = now + self._shut_s
            origin.quiet_until = max(origin.quiet_until, now + min(quiet_s, HOLD_S[1]))
            if answered and not origin.busy and max(origin.line_ends_at, origin.quiet_until) <= now:
                del self._origins[name]  # nothing worth to be remembered

    def shut(self) -> int:
        """How many origins are left alone now."""
        with self._lock:
            now = self._clock()
            return sum(o.silences >= SILENCES_TO_SHUT and now < o.shut_until for o in self._origins.values())

    def _known(self, name: str) -> _Origin:
        if name not in self._origins and len(self._origins) >= MAX_ORIGINS:
            self._origins = {known: origin for known, origin in self._origins.items() if origin.busy}
        return self._origins.setdefault(name, _Origin())

    def _place_in_line(self, origin: _Origin, now: float) -> float:
        shortest_s, longest_s = HOLD_S
        origin.line_ends_at = max(origin.line_ends_at, origin.quiet_until, now) + origin.took_s / self._at_a_time
        return min(max(origin.line_ends_at - now, shortest_s), longest_s)
