"""Which sights of a face count, and where in a view they are looked at again."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import sights
from pipeline.sights import MARGIN_PX, RANK_TOLERANCE, WINDOW_STEP_PX, contenders, face_of, grouped, same, view, windows


def found(*boxes, score=0.9):
    """What a network tells of faces at these boxes: landmarks at their corners and middle."""
    x0, y0, x1, y1 = np.array(boxes, np.float32).reshape(-1, 4).T
    points = np.stack([x0, y0, x1, y0, (x0 + x1) / 2, (y0 + y1) / 2, x0, y1, x1, y1], axis=-1).reshape(-1, 5, 2)
    return np.array(boxes, np.float32).reshape(-1, 4), points, np.full(len(boxes), score, np.float32)


def seen(one, *boxes, score=0.9):
    return sights.of(found(*boxes, score=score), one, one.whole)


WIDE = view(np.zeros((600, 1000, 3), np.float32), 0, (2000, 1200))


def test_a_window_is_on_the_grid_around_its_face_and_within_the_view():
    faces = seen(WIDE, (500, 300, 560, 370), (2, 4, 50, 60), (950, 560, 999, 599))
    for window, (face,) in windows(WIDE, faces):
        x0, y0, x1, y1 = face.box
        for side, low, high, length in ((window.columns, x0, x1, 1000), (window.rows, y0, y1, 600)):
            assert side.start % WINDOW_STEP_PX == 0
            assert side.stop % WINDOW_STEP_PX == 0 or side.stop == length
            assert 0 <= side.start <= max(0, low - MARGIN_PX)
            assert min(length, high + MARGIN_PX) <= side.stop <= length


def test_faces_all_over_a_view_are_looked_at_at_once():
    faces = seen(WIDE, (100, 100, 400, 500), (500, 100, 900, 500))
    assert windows(WIDE, faces) == [(WIDE.whole, faces)]


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_sight_in_a_window_is_the_sight_in_the_view(turn):
    one = view(np.zeros((600, 1000, 3), np.float32), turn, (2000, 1200))
    (whole,) = seen(one, (300, 310, 360, 380))
    [(window, _)] = windows(one, [whole])
    left, top = window.columns.start, window.rows.start
    (part,) = sights.of(found((300 - left, 310 - top, 360 - left, 380 - top)), one, window)
    assert part.box == whole.box
    assert part.face.box == whole.face.box
    assert np.array_equal(part.face.landmarks, whole.face.landmarks)


def test_a_face_is_where_its_best_sized_sight_is_and_as_sure_as_the_surest():
    scores = {0.5: 0.9, 1.0: 0.87, 2.0: 0.95, 4.0: 0.99}
    seen_at = []
    for times, score in scores.items():
        copy = view(np.zeros((round(600 * times), round(1000 * times), 3), np.float32), 0, (2000, 1200))
        seen_at += seen(copy, tuple(side * times for side in (400, 200, 540, 360)), score=score)
    (group,) = grouped(seen_at)
    assert [round(sight.box[3] - sight.box[1]) for sight in group] == [160, 320, 80, 640]
    # The largest is beyond what the network knows: neither its place nor its score is believed.
    assert face_of(group).box == group[0].face.box
    assert face_of(group).score == pytest.approx(0.95)


def test_only_sights_that_may_be_the_best_of_their_face_contend():
    near, far = 0.9 - RANK_TOLERANCE / 2, 0.9 - RANK_TOLERANCE * 2
    [best], [close], [worse], [other] = (
        seen(WIDE, box, score=score)
        for box, score in (
            ((300, 300, 360, 380), 0.9),
            ((302, 300, 362, 380), near),
            ((300, 302, 360, 382), far),
            ((700, 300, 760, 380), far),
        )
    )
    groups = grouped([worse, close, other, best])
    assert groups == [[best, close, worse], [other]]
    assert [contenders(group) for group in groups] == [[best, close], [other]]


def test_the_same_face_is_the_one_that_overlaps_most():
    (one,) = seen(WIDE, (300, 300, 360, 380))
    others = seen(WIDE, (340, 300, 400, 380), (302, 303, 362, 383), (300, 330, 360, 410))
    assert same(one, others) is others[1]
    assert same(one, others[:1]) is None
    assert same(one, []) is None
