"""How many jobs are worked on at a time follows from what they take beside the lane and on it."""

from __future__ import annotations

import pytest

from worker.crew import Crew


def after(*jobs: tuple[float, float], least: int = 2, most: int = 12) -> int:
    """The crew's size after jobs of (host_s, lane_s)."""
    crew = Crew(least=least, most=most)
    for host_s, lane_s in jobs:
        crew.learn(host_s=host_s, lane_s=lane_s)
    return crew.size


@pytest.mark.parametrize(
    ("host_s", "lane_s", "expected"),
    [
        (0.4, 2.5, 3),  # a CPU: one more has the lane's next picture ready, and one is there to spare
        (0.3, 0.15, 4),
        (0.5, 0.1, 7),  # a GPU
        (60.0, 0.1, 12),
        (0.0, 2.5, 2),
    ],
)
def test_others_do_their_host_work_while_one_has_the_lane(host_s: float, lane_s: float, expected: int) -> None:
    assert after(*[(host_s, lane_s)] * 3) == expected


def test_nothing_measured_is_the_fewest_and_nothing_on_the_lane_says_nothing() -> None:
    assert after() == 2
    assert after((5.0, 0.0)) == 2
    assert after((0.5, 0.1), (5.0, 0.0)) == 7


def test_the_newest_jobs_count_most_and_one_alone_does_not() -> None:
    before = [(0.5, 0.1)] * 20
    assert after(*before, (0.5, 0.2)) == 7
    assert after(*before, *[(0.0, 2.5)] * 20) == 3


def test_a_number_that_is_given_holds() -> None:
    assert after(*[(60.0, 0.1)] * 9, least=3, most=3) == 3
