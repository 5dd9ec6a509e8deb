"""How many jobs a process works on at a time: so many that its lane always finds work, and not many more.

While one job has the lane, the others fetch, decode, blend, encode and store. A job that takes ``host_s`` for that and
the lane ``lane_s`` needs ``host_s / lane_s`` others beside it, and one more, since no two pictures are alike.
"""

from __future__ import annotations

import math
import threading

#: Weight of the newest job in what is known of its kind.
LEARNING_RATE = 0.2
#: Jobs beyond those that the means ask for.
SPARE = 1
#: Less lane time than this is none (seconds): a picture without faces says nothing of how long a face takes.
SHORTEST_S = 1e-3


class Crew:
    """Learns from each job that ended. Safe from several threads."""

    def __init__(self, *, least: int, most: int) -> None:
        """At first it is ``least``; never fewer than that, never more than ``most``."""
        self._least, self._most = min(least, most), most
        self._lock = threading.Lock()
        self._host_s = self._lane_s = 0.0

    @property
    def size(self) -> int:
        """Jobs at a time."""
        with self._lock:
            if self._lane_s <= 0:
                return self._least
            wanted = 1 + math.ceil(self._host_s / self._lane_s) + SPARE
            return min(max(wanted, self._least), self._most)

    def learn(self, *, host_s: float, lane_s: float) -> None:
        """A job took so long outside the lane, and the lane worked for so long since the job before ended."""
        if lane_s < SHORTEST_S:
            return
        with self._lock:
            rate = LEARNING_RATE if self._lane_s > 0 else 1.0
            self._host_s += rate * (host_s - self._host_s)
            self._lane_s += rate * (lane_s - self._lane_s)
