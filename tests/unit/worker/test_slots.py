"""Publishing free slots: advice to the feeder, so nothing that goes wrong with it may cost a thread or a job."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.errors import StoreUnavailable
from jobs.store import Slots
from worker.slots import SlotPublisher

SLOTS = Slots(worker="w", queues=(), free=1, total=2)


class Board:
    """Says what was published last; ``trouble`` is raised, in turn."""

    def __init__(self) -> None:
        self.trouble: list[Exception] = []
        self.shown: Slots | None = None

    def publish_slots(self, slots: Slots) -> bool:
        self._show(slots)
        return True

    def withdraw_slots(self, worker: str) -> None:
        self._show(None)

    def _show(self, slots: Slots | None) -> None:
        if self.trouble:
            raise self.trouble.pop(0)
        self.shown = slots


@pytest.mark.parametrize("trouble", [StoreUnavailable("gone"), ZeroDivisionError("a bug")])
def test_trouble_with_publishing_is_told_in_the_log_and_tried_again(
    trouble: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board()
    board.trouble = [trouble]
    current: Callable[[], Slots | None] = lambda: SLOTS  # noqa: E731
    publisher = SlotPublisher(board, worker="w", every_s=60.0, current=current, on_secluded=lambda _: None)
    publisher.publish()
    assert board.shown is None
    assert "trying again" in capsys.readouterr().err
    publisher.publish()
    assert board.shown == SLOTS


def test_whoever_listens_is_told_each_time_whatever_became_of_it() -> None:
    board, told = Board(), []
    board.trouble = [StoreUnavailable("gone")]
    offers: list[Slots | None] = [SLOTS, SLOTS, None]
    publisher = SlotPublisher(
        board,
        worker="w",
        every_s=60.0,
        current=lambda: offers.pop(0),
        on_secluded=lambda _: None,
        on_published=lambda: told.append(board.shown),
    )
    for _ in range(3):
        publisher.publish()
    assert told == [None, SLOTS, None]


def test_a_worker_that_offers_nothing_is_taken_off_the_board_once() -> None:
    board, offers = Board(), [SLOTS, None, None]
    heard: list[bool] = []
    publisher = SlotPublisher(board, worker="w", every_s=60.0, current=lambda: offers.pop(0), on_secluded=heard.append)
    publisher.publish()
    assert board.shown == SLOTS
    publisher.publish()
    assert board.shown is None
    board.trouble = [ZeroDivisionError("nothing is said a second time")]
    publisher.publish()
    assert board.trouble
    assert heard == [True], "what the store answered"
