"""Whether all loops of a keeper still turn, and the file by which others can tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

#: How often the file is written (seconds), and after how long without that its keeper counts as stuck.
BEAT_S, STALE_S = 5.0, 30.0
#: Longest turn of a healthy loop (seconds): a batch's manifest may be read for minutes. One that fails turns as well.
LONGEST_TURN_S = 600.0


class Vitals:
    """Each loop says when it turns; ``beat`` writes the file while all of them do. Safe from several threads."""

    def __init__(self, loops: Iterable[str], file: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._turned_at = dict.fromkeys(loops, clock())
        self._is_told = False

    def turned(self, loop: str) -> None:
        """This loop is at the begin of a turn."""
        self._turned_at[loop] = self._clock()

    def beat(self) -> None:
        """Write the file, unless a loop is stuck; that is logged once."""
        now = self._clock()
        stuck = [loop for loop, at in self._turned_at.items() if now - at > LONGEST_TURN_S]
        if stuck:
            if not self._is_told:
                logger.error("stuck: not alive any more", loops=stuck, for_s=LONGEST_TURN_S)
            self._is_told = True
            return
        self._is_told = False
        if self._file is not None:
            try:
                self._file.write_text("alive\n")
            except OSError as error:
                logger.warning("not known to others whether it lives", file=str(self._file), error=str(error))


def is_alive(file: Path) -> bool:
    """Whether the file was written within ``STALE_S``."""
    try:
        return time.time() - file.stat().st_mtime < STALE_S
    except OSError:
        return False
