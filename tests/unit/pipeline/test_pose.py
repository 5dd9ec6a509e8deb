"""The yaw estimate against a head that is really turned and photographed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.geometry import FFHQ_TEMPLATE
from pipeline.pose import NOSE_PROTRUSION, yaw_deg

#: Left eye, nose and left corner of the mouth in cm: right, up, towards the camera. Source: MediaPipe's
#: canonical_face_model.obj (Apache-2.0), means of vertices 33 and 133, 1 and 4, and vertex 61.
EYE, NOSE, MOUTH = np.array([[-3.1511, 2.6246, 3.4657], [0.0, -0.795, 7.5311], [-2.4562, -4.3426, 4.2839]])
MIRRORED = np.array([-1, 1, 1])
HEAD = np.array([EYE, EYE * MIRRORED, NOSE, MOUTH, MOUTH * MIRRORED])


def photographed(yaw, *, pitch=0.0, roll=0.0, distance_cm=math.inf, px_per_cm=30.0):
    """Where the five points are in a picture."""
    y, p, r = np.deg2rad([yaw, pitch, roll])
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    nod = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    points = HEAD @ (tilt @ nod @ turn).T
    near = 1.0 if math.isinf(distance_cm) else distance_cm / (distance_cm - points[:, 2:])
    return (points[:, :2] * near * [1, -1] * px_per_cm + 500).astype(np.float32)


def worst_error(*, pitches, distance_cm):
    return max(
        abs(yaw_deg(photographed(yaw, pitch=pitch, roll=roll, distance_cm=distance_cm)) - yaw)
        for yaw in range(-60, 61, 5)
        for pitch in pitches
        for roll in (0, 45, -120, 180)
    )


@pytest.mark.parametrize(
    ("pitches", "distance_cm", "allowed"),
    [
        ((0,), math.inf, 0.2),
        ((-15, 0, 15), math.inf, 2),
        ((-15, 0, 15), 100, 5),
        ((-30, 30), math.inf, 4),
        ((-30, 30), 100, 7),
    ],
)
def test_the_estimate_is_as_good_as_it_says(pitches, distance_cm, allowed):
    assert worst_error(pitches=pitches, distance_cm=distance_cm) <= allowed


def test_a_head_turned_to_the_right_of_the_picture_is_positive_and_size_does_not_matter():
    assert yaw_deg(photographed(30)) == yaw_deg(photographed(30, px_per_cm=3)) > 29
    assert yaw_deg(photographed(-30)) < -29
    assert abs(yaw_deg(FFHQ_TEMPLATE.astype(np.float32))) < 0.1, "the mean of FFHQ looks at the camera"


def test_noses_of_other_people_make_it_a_few_degrees_wrong():
    points = photographed(30)
    middle = points[[0, 1, 3, 4]].mean(axis=0)
    longer = points.copy()
    longer[2, 0] += 0.15 * (points[2, 0] - middle[0])
    assert abs(yaw_deg(longer) - 30) < 5


def test_the_constant_is_the_canonical_faces():
    part = (EYE[1] - NOSE[1]) / (EYE[1] - MOUTH[1])
    plane = EYE[2] + part * (MOUTH[2] - EYE[2])
    assert pytest.approx((NOSE[2] - plane) / -EYE[0], abs=0.01) == NOSE_PROTRUSION


def test_points_that_are_no_face_have_no_yaw():
    assert yaw_deg(np.full((5, 2), np.nan, np.float32)) is None
    assert yaw_deg(np.zeros((5, 2), np.float32)) is None
