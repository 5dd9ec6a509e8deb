"""Which windows of a copy are looked at for the traces that a smaller one shows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import hints
from pipeline.hints import CLEAR_SCORE, CORE_PX, FAINT_PART, FAINT_SCORE, WINDOW_PX, Traces, counted, windows

WIDTH, HEIGHT = 1600, 1200
MOST_FAINT = int(FAINT_PART * WIDTH * HEIGHT / WINDOW_PX**2)


def traces(*places, score=CLEAR_SCORE):
    return Traces(places=np.array(places, np.float32).reshape(-1, 2), scores=np.full(len(places), score, np.float32))


def grid(step):
    return [(x, y) for y in range(step // 2, HEIGHT, step) for x in range(step // 2, WIDTH, step)]


def found(traced):
    return windows(traced, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize("place", [(0, 0), (WIDTH - 1, HEIGHT - 1), (3, 700), (800, 600.4)])
def test_a_trace_lies_in_the_middle_of_its_window_or_at_the_edge(place):
    ((left, top),) = found(traces(place))
    assert 0 <= left <= WIDTH - WINDOW_PX
    assert 0 <= top <= HEIGHT - WINDOW_PX
    box = np.array([[place[0] - 8, place[1] - 8, place[0] + 8, place[1] + 8]], np.float32)
    assert counted(box, (left, top), width=WIDTH, height=HEIGHT).all()


def test_places_near_each_other_share_a_window():
    near = CORE_PX / 3
    assert len(found(traces((600, 600), (600 + near, 600), (600, 600 - near)))) == 1
    assert len(found(traces((600, 600), (600 + CORE_PX, 600)))) == 2


def test_without_a_trace_there_is_nothing_to_look_at():
    assert found(traces()) == ()
    assert windows(traces(), width=100, height=100) == ()


def test_clear_traces_all_over_ask_for_the_whole_copy():
    assert found(traces(*grid(100))) is None
    assert windows(traces((50, 50)), width=100, height=WINDOW_PX) is None


def test_faint_traces_take_a_bounded_part_of_the_copy_the_likeliest_first():
    places = grid(100)
    assert len(found(traces(*places, score=FAINT_SCORE))) == MOST_FAINT
    first = Traces(places=np.array(places, np.float32), scores=np.linspace(0.015, FAINT_SCORE, len(places)))
    assert found(first) == found(traces(*places, score=FAINT_SCORE))


def test_what_counts_of_a_window_is_small_and_in_its_middle():
    corner = (400, 400)
    middle = 400 + WINDOW_PX / 2
    small, large, aside = (middle, middle, 20), (middle, middle, hints.SMALL_PX / 2 + 1), (410, middle, 20)
    boxes = np.array([[x - r, y - r, x + r, y + r] for x, y, r in (small, large, aside)], np.float32)
    assert counted(boxes, corner, width=WIDTH, height=HEIGHT).tolist() == [True, False, False]
