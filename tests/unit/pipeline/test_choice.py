"""Ids lead back to their faces whatever else a run does, and boxes mean the face that they are drawn around."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.faces import FACE_ID
from pipeline.choice import MATCH_IOU, best_match, box_of, face_id, is_id, overlap


def drawn(x, y, size, aspect=0.75):
    """A box around (x, y) as detectors draw them: higher than wide."""
    return x - size * aspect / 2, y - size / 2, x + size * aspect / 2, y + size / 2


#: Centre and size as parts of the picture. Smaller faces than a hundredth of its longer side are hard to hit by hand.
sides = st.integers(300, 30_000)
places = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), sides, sides)


@given(places)
def test_an_id_has_the_form_that_the_api_takes_and_names_a_box_that_matches_its_face(place):
    x, y, part, width, height = place
    box = drawn(x * (width - 1), y * (height - 1), part * max(width, height))
    name = face_id(box, width=width, height=height)
    assert is_id(name)
    assert re.fullmatch(FACE_ID, name)
    assert best_match(box_of(name, width=width, height=height), [box]) == 0


@given(places, st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(0.9, 1.1))
def test_an_id_still_leads_to_its_face_when_another_run_sees_it_a_little_elsewhere(place, dx, dy, factor):
    """Another detector, an extra pass, another machine kind: boxes move by a few per cent."""
    x, y, part, width, height = place
    x, y, size = x * (width - 1), y * (height - 1), part * max(width, height)
    name = face_id(drawn(x, y, size), width=width, height=height)
    again = drawn(x + dx * size, y + dy * size, size * factor)
    beside = drawn(x + 1.2 * size, y, size)
    assert best_match(box_of(name, width=width, height=height), [beside, again]) == 1


def test_an_id_holds_for_a_smaller_copy_of_the_photo():
    box = drawn(1200, 800, 160)
    small = tuple((v + 0.5) / 4 - 0.5 for v in box)
    assert face_id(box, width=4000, height=3000) == face_id(small, width=1000, height=750)


def test_faces_of_a_crowd_have_ids_of_their_own():
    """1,600 faces of 1 % of the width, in rows as close as heads can be."""
    crowd = [drawn(x, y, 40) for x in range(20, 3600, 60) for y in range(20, 1600, 60)]
    names = {face_id(box, width=4000, height=3000) for box in crowd}
    assert len(names) == len(crowd) == 60 * 27


def test_an_id_reads_as_size_and_place():
    assert face_id((0, 0, 999, 999), width=1000, height=1000) == "ag0g0"
    assert face_id((-0.5, -0.5, 1, 1), width=1000, height=1000)[1:] == "0000"
    assert face_id((998, 998, 1000, 1000), width=1000, height=1000)[1:] == "zzzz"
    assert face_id((500, 500, 500, 500), width=1000, height=1000)[0] == "z"


@pytest.mark.parametrize(
    ("margins", "is_meant"),
    [
        ((0, 0, 0, 0), True),
        ((0.25, 0.4, 0.25, 0.1), True),  # a head with its hair
        ((0.35, 0.35, 0.35, 0.35), True),
        ((-0.2, -0.2, -0.2, -0.2), True),
        ((0.6, 0.6, 0.6, 0.6), False),  # a box around the shoulders could mean anything in it
        ((-1.1, 0, 1.1, 0), False),  # beside it
    ],
)
def test_a_box_means_the_face_that_it_is_drawn_around(margins, is_meant):
    face = (100.0, 100.0, 200.0, 200.0)
    box = tuple(np.array(face) + np.array([-1, -1, 1, 1]) * np.array(margins) * 100)
    assert (best_match(box, [face]) == 0) == is_meant


def test_of_several_faces_the_one_that_overlaps_best_is_meant():
    boxes = [(0.0, 0.0, 100.0, 100.0), (90.0, 0.0, 190.0, 100.0)]
    assert best_match((60, 0, 180, 100), boxes) == 1
    assert best_match((60, 0, 180, 100), []) is None
    assert overlap((0, 0, 10, 10), (0, 5, 10, 15)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0 < MATCH_IOU
