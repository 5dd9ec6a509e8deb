"""Which sights of a face are one face's, and which of them says where it is and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import sights
from pipeline.geometry import enlarge
from pipeline.sights import face_of, grouped


def seen(*boxes, score=0.9, times=1.0):
    """Sights of faces at these boxes of a picture, in a view of so many times its size."""
    x0, y0, x1, y1 = (times * np.array(boxes, np.float32).reshape(-1, 4)).T
    points = np.stack([x0, y0, x1, y0, (x0 + x1) / 2, (y0 + y1) / 2, x0, y1, x1, y1], axis=-1).reshape(-1, 5, 2)
    found = np.stack([x0, y0, x1, y1], axis=-1), points, np.full(len(boxes), score, np.float32)
    return sights.of(found, enlarge(1 / times, 1 / times))


def test_a_face_is_where_its_best_sized_sight_is_and_as_sure_as_the_surest():
    box, scores = (400, 200, 540, 360), {0.5: 0.9, 1.0: 0.87, 2.0: 0.95, 4.0: 0.99}
    each = {times: seen(box, score=score, times=times)[0] for times, score in scores.items()}
    (group,) = grouped(list(each.values()))
    # Of 160, 320, 80 and 640 px; the largest is beyond what the network knows: neither place nor score is believed.
    assert group == [each[1.0], each[2.0], each[0.5], each[4.0]]
    face = face_of(group)
    assert face.box == each[1.0].face.box
    assert face.landmarks is each[1.0].face.landmarks
    assert face.score == pytest.approx(0.95)


def test_a_hair_s_breadth_between_scores_does_not_decide():
    box = (400, 200, 540, 360)
    for scores in ((0.9990, 0.9998), (0.9998, 0.9990)):
        well, small = (seen(box, score=score, times=times) for score, times in zip(scores, (1.0, 0.4), strict=True))
        (group,) = grouped([*small, *well])
        assert group == [*well, *small]
        assert face_of(group).score == pytest.approx(0.9998)


def test_only_what_lies_at_one_place_is_one_face():
    one, other, third = (300, 300, 360, 380), (330, 300, 390, 380), (700, 300, 760, 380)
    groups = grouped([*seen(one, third, score=0.8), *seen(other, score=0.9), *seen(one, score=0.6)])
    assert [(len(group), face_of(group).score) for group in groups] == [
        (1, pytest.approx(0.9)),
        (2, pytest.approx(0.8)),
        (1, pytest.approx(0.8)),
    ]
    assert grouped([]) == []
    # Without an area it overlaps nothing, and is a face all the same.
    assert len(grouped(seen((5, 5, 5, 5), (5, 5, 5, 5)))) == 2
