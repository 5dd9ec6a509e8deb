"""Running suspects alone: a process that the feeder has chosen takes nothing else, becomes empty, and is given one.

So the death of a process names its cause, and innocents that only shared one are cleared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

logger = structlog.get_logger(__name__)

#: How often a chosen process looks whether it is empty by now (seconds).
LOOK_EVERY_S = 0.05
#: After a suspect, other jobs that wait have the process for as long as that turn took, within these bounds (seconds):
#: neither can keep the other waiting for ever. A new process rests first, since a suspect may have ended the last one.
REST_S = (5.0, 60.0)


class Seclusion:
    """A thread that runs a suspect when it is asked to and the process is empty."""

    def __init__(self, run_alone: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic) -> None:
        """``run_alone`` runs one suspect if nothing else runs here; False: not yet, ask again."""
        self._run_alone = run_alone
        self._clock = clock
        self._asked = threading.Event()
        self._asked_at = 0.0
        self._rested_at = clock() + REST_S[0]

    def start(self) -> None:
        threading.Thread(target=self._run, name="seclusion", daemon=True).start()

    @property
    def is_asked(self) -> bool:
        """Whether this process is to take nothing but a suspect."""
        return self._asked.is_set()

    @property
    def is_rested(self) -> bool:
        return self._clock() >= self._rested_at

    def ask(self, asked: bool) -> None:
        """What the store says: be, or stay, empty for a suspect; or be as any other."""
        if asked and not self._asked.is_set():
            self._asked_at = self._clock()
            self._asked.set()
        elif not asked:
            self._asked.clear()

    def step(self) -> bool:
        """Run a suspect if that can be done now."""
        if not self._run_alone():
            return False
        now = self._clock()
        shortest_s, longest_s = REST_S
        self._rested_at = now + min(max(now - self._asked_at, shortest_s), longest_s)
        self._asked.clear()
        return True

    def _run(self) -> None:
        while True:
            self._asked.wait()
            try:
                is_done = self.step()
            # A border: a suspect that ends in a bug of ours must not leave the others waiting for ever.
            except Exception:
                logger.exception("a suspect could not be run, trying again")
                is_done = False
            if not is_done:
                time.sleep(LOOK_EVERY_S)
