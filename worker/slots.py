"""Telling the feeder how many jobs this process could take, every second or so and whenever that changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from jobs.errors import StoreUnavailable
from jobs.store import Slots

logger = structlog.get_logger(__name__)


class SlotBoard(Protocol):
    """The part of the job store that slots are published on."""

    def publish_slots(self, slots: Slots) -> bool: ...
    def withdraw_slots(self, worker: str) -> None: ...


class SlotPublisher:
    """A thread that publishes what ``current`` says; None means: nothing to offer, take us off the board."""

    def __init__(
        self,
        board: SlotBoard,
        *,
        worker: str,
        every_s: float,
        current: Callable[[], Slots | None],
        on_secluded: Callable[[bool], None],
        on_published: Callable[[], object] = lambda: None,
    ) -> None:
        """``on_secluded`` hears at each word whether this worker is to take nothing but a suspect.

        ``on_published`` is called after each, also where it did not reach the board.
        """
        self._board = board
        self._worker = worker
        self._every_s = every_s
        self._current = current
        self._on_secluded = on_secluded
        self._on_published = on_published
        self._published = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slots", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(self) -> None:
        """Publish now. A job thread calls this before it claims: the feeder must not see a slot that is taken."""
        # One at a time, and the state is read inside: else an old count could overtake a newer one.
        with self._lock:
            slots = self._current()
            try:
                if slots is not None:
                    self._on_secluded(self._board.publish_slots(slots))
                    self._published = True
                elif self._published:
                    self._board.withdraw_slots(self._worker)
                    self._published = False
            except StoreUnavailable as error:
                logger.warning("free slots not published, trying again", error=str(error))
            # A border: whoever publishes is on its way to or from a job, or the only thread that says we are here.
            except Exception:
                logger.exception("free slots not published by a fault of ours, trying again")
        self._on_published()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.publish()
