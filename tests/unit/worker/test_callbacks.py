"""What follows from a receiver's answer."""

from __future__ import annotations

import pytest

from jobs.callbacks import JITTER
from jobs.outbound import Answer, NotReached
from worker.callbacks import next_step, retry_after_s

SCHEDULE = (5.0, 300.0)
#: Wed, 21 Oct 2015 07:28:00 GMT
DATE = 1445412480.0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert next_step(Answer(status=status, retry_after=None), attempt=1, schedule_s=SCHEDULE, now=0) is None


@pytest.mark.parametrize("status", [199, 301, 302, 307, 308, 400, 401, 404, 429, 500, 502, 504])
def test_anything_else_is_tried_again_redirects_too(status: int) -> None:
    retry = next_step(Answer(status=status, retry_after=None), attempt=1, schedule_s=SCHEDULE, now=0)
    assert retry is not None
    assert retry.in_s is not None
    assert 5.0 <= retry.in_s <= 5.0 * (1 + JITTER)
    assert str(status) in retry.error


def test_the_schedule_ends_with_giving_up() -> None:
    waits = []
    for attempt in (1, 2, 3):
        retry = next_step(NotReached("no answer"), attempt=attempt, schedule_s=SCHEDULE, now=0)
        assert retry is not None
        waits.append(retry.in_s)
    first, second, third = waits
    assert first is not None
    assert second is not None
    assert 5 <= first < 300 <= second
    assert third is None


def test_gone_means_never_again() -> None:
    retry = next_step(Answer(status=410, retry_after="5"), attempt=1, schedule_s=SCHEDULE, now=0)
    assert retry is not None
    assert retry.in_s is None


def test_a_receiver_may_ask_for_more_patience() -> None:
    retry = next_step(Answer(status=429, retry_after="1000"), attempt=1, schedule_s=SCHEDULE, now=0)
    assert retry is not None
    assert retry.in_s == 1000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 7 ", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 60),
        ("Wed, 21 Oct 2014 07:28:00 GMT", 0),
        ("soon", 0),
        ("-5", 0),
        ("1e9", 0),
        ("nan", 0),
        ("", 0),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_is_nothing(header: str | None, seconds: float) -> None:
    assert retry_after_s(header, now=DATE - 60) == seconds
