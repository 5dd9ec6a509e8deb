"""Which rows a report's contact sheet shows."""

from __future__ import annotations

from jobs.delivery.html import MOST_SAMPLES
from jobs.delivery.rows import DONE, Row

#: The share of the sheet that flagged pictures may take.
_MOST_FLAGGED = MOST_SAMPLES // 2


class Sampler:
    """Chooses rows for the sheet while they go by: flagged ones first, the rest spread evenly over the report."""

    def __init__(self) -> None:
        self._flagged: list[Row] = []
        self._spread: list[Row] = []
        self._stride = 1
        self._seen = 0

    def add(self, row: Row) -> None:
        """Look at one row."""
        if row.status not in DONE or row.image is None:
            return
        if row.review and len(self._flagged) < _MOST_FLAGGED:
            self._flagged.append(row)
            return
        if self._seen % self._stride == 0:
            self._spread.append(row)
        self._seen += 1
        if len(self._spread) == 2 * MOST_SAMPLES:
            # Every second one goes, and from here on only every second one comes.
            del self._spread[1::2]
            self._stride *= 2

    def chosen(self) -> list[Row]:
        """At most as many as the sheet has room for."""
        room = MOST_SAMPLES - len(self._flagged)
        step = max(1.0, len(self._spread) / max(1, room))
        even = [self._spread[int(place * step)] for place in range(min(room, len(self._spread)))]
        return [*self._flagged, *even]
