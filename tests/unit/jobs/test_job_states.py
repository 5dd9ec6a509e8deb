"""The state table: complete, refusing, and with ends that are ends."""

from __future__ import annotations

import itertools

import pytest

from jobs.errors import IllegalMove
from jobs.states import MOVES, TERMINAL, JobState, check_move


def test_the_table_covers_every_state() -> None:
    assert set(MOVES) == set(JobState)


@pytest.mark.parametrize(("origin", "to"), list(itertools.product(JobState, JobState)))
def test_a_pair_is_legal_exactly_when_the_table_has_it(origin: JobState, to: JobState) -> None:
    if to in MOVES[origin]:
        check_move(origin, to)
    else:
        with pytest.raises(IllegalMove):
            check_move(origin, to)


def test_from_an_end_there_is_only_expiry() -> None:
    assert {to for end in TERMINAL for to in MOVES[end]} == {JobState.EXPIRED}


def test_every_state_can_be_reached_from_queued() -> None:
    reached, seen = {JobState.QUEUED}, set()
    while reached - seen:
        seen |= reached
        reached |= {to for origin in seen for to in MOVES[origin]}
    assert reached == set(JobState)
