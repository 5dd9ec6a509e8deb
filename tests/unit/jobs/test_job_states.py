"""The state table: complete, and with ends that are ends."""

from __future__ import annotations

from jobs.states import MOVES, TERMINAL, JobState


def test_the_table_covers_every_state() -> None:
    assert set(MOVES) == set(JobState)


def test_from_an_end_there_is_only_expiry() -> None:
    assert {to for end in TERMINAL for to in MOVES[end]} == {JobState.EXPIRED}


def test_every_state_can_be_reached_from_queued() -> None:
    reached, seen = {JobState.QUEUED}, set()
    while reached - seen:
        seen |= reached
        reached |= {to for origin in seen for to in MOVES[origin]}
    assert reached == set(JobState)
