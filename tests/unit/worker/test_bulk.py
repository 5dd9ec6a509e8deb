"""Large pictures are worked on one at a time; others never wait for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from pipeline.codec import Limits
from pipeline.errors import ImageTooLarge
from pipeline.source import SourceImage
from pipeline.types import Stage
from worker.bulk import Turns
from worker.lease import Stop, Stopped

LIMITS = Limits(max_pixels=1000)
SMALL, LARGE, HUGE = b"80", b"800", b"8000"


def decode(data: bytes, *, limits: Limits, page: int) -> SourceImage:
    """A file says its pixels; the picture is its page and the limit that it was decoded with."""
    if int(data) > limits.max_pixels:
        raise ImageTooLarge(f"{data!r} above {limits.max_pixels}")
    return cast("SourceImage", (page, limits.max_pixels))


def on_progress(stage: Stage, fraction: float) -> None:
    pass


@pytest.fixture
def turns() -> Turns:
    return Turns(decode, large_pixels=100)


def test_a_picture_is_decoded_within_what_all_may_have_and_a_large_one_within_the_limit(turns):
    with turns.decoder(on_progress) as small, turns.decoder(on_progress) as large:
        assert small(SMALL, limits=LIMITS, page=2) == (2, 100)
        assert large(LARGE, limits=LIMITS, page=1) == (1, 1000)


@pytest.mark.parametrize("limit", [1000, 50])
def test_a_picture_above_the_limit_is_refused_by_that_limit_and_holds_no_turn(turns, limit):
    with turns.decoder(on_progress) as huge, pytest.raises(ImageTooLarge, match=f"above {limit}"):
        huge(HUGE, limits=Limits(max_pixels=limit), page=1)
    with turns.decoder(on_progress) as large:
        assert large(LARGE, limits=LIMITS, page=1) == (1, 1000)


def test_a_second_large_picture_waits_until_the_first_ones_job_is_done_and_small_ones_pass(turns):
    waits, order = threading.Event(), []

    def second() -> Any:
        with turns.decoder(lambda stage, fraction: waits.set()) as its:
            picture = its(LARGE, limits=LIMITS, page=1)
            order.append("second decoded")
            return picture

    with ThreadPoolExecutor() as pool:
        with turns.decoder(on_progress) as first:
            first(LARGE, limits=LIMITS, page=1)
            later = pool.submit(second)
            assert waits.wait(20), "it has to wait, and tells that it lives"
            with turns.decoder(on_progress) as small:
                assert small(SMALL, limits=LIMITS, page=1) == (1, 100)
            order.append("first done")
        assert later.result(timeout=20) == (1, 1000)
    assert order == ["first done", "second decoded"]


def test_one_that_waits_can_be_stopped_and_takes_no_turn_then(turns):
    def stop(stage: Stage, fraction: float) -> None:
        raise Stopped(Stop.CANCEL)

    with turns.decoder(on_progress) as first:
        first(LARGE, limits=LIMITS, page=1)
        with turns.decoder(stop) as second, pytest.raises(Stopped):
            second(LARGE, limits=LIMITS, page=1)
    with turns.decoder(on_progress) as third:
        assert third(LARGE, limits=LIMITS, page=1) == (1, 1000)
