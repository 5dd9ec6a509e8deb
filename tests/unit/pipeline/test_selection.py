"""False faces are rejected, unwanted ones skipped, each with its reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline import geometry
from pipeline.errors import UnsupportedOption
from pipeline.options import RestoreOptions
from pipeline.selection import select
from pipeline.types import Face, FaceStatus


def face(x, y, size, *, score=0.95, degrees=0.0):
    """A frontal face with its box's upper left corner at (x, y)."""
    points = (geometry.FFHQ_TEMPLATE - 256) * size / 300
    turn = np.deg2rad(degrees)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    centre = np.array([x + size / 2, y + size / 2])
    return Face(box=(x, y, x + size, y + size), landmarks=(points + centre).astype(np.float32), score=score)


#: Moves the nose to below the mouth of a face of 200 px.
LOW_NOSE = np.array([[0, 0], [0, 0], [0, 75], [0, 0], [0, 0]], np.float32)


def fates(*faces, **options):
    chosen = select(faces, RestoreOptions(**options), width=1000, height=800)
    return {round(c.face.box[0]): (c.status, c.reason) for c in chosen}


def wanted(*faces, **options):
    return sorted(x for x, (status, _) in fates(*faces, **options).items() if status is None)


@pytest.mark.parametrize("degrees", [0, 30, -60, 90, 180])
def test_a_face_is_a_face_however_it_is_tilted(degrees):
    assert wanted(face(100, 100, 200, degrees=degrees)) == [100]


def test_faces_come_from_left_to_right_with_their_alignment():
    chosen = select([face(500, 0, 100), face(100, 300, 90)], RestoreOptions(), width=1000, height=800)
    assert [c.face.box[0] for c in chosen] == [100, 500]
    for candidate in chosen:
        aligned = geometry.apply(candidate.source_to_crop, candidate.face.landmarks)
        assert np.abs(aligned - geometry.FFHQ_TEMPLATE).max() < 0.1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: dataclasses.replace(f, score=0.4), "score 0.40 is below 0.5"),
        (lambda f: dataclasses.replace(f, box=(100, 100, 300, 700)), "too drawn out"),
        (lambda f: dataclasses.replace(f, box=(100, 100, 100, 300)), "empty"),
        (lambda f: dataclasses.replace(f, landmarks=f.landmarks + 300), "outside its box"),
        (lambda f: dataclasses.replace(f, landmarks=f.landmarks * np.nan), "no numbers"),
        (lambda f: dataclasses.replace(f, landmarks=f.landmarks[[1, 0, 2, 4, 3]]), "wrong way round"),
        (lambda f: dataclasses.replace(f, landmarks=f.landmarks + LOW_NOSE), "nose"),
    ],
    ids=["score", "aspect", "empty box", "landmarks outside", "not a number", "mirrored", "nose"],
)  # fmt: skip
def test_what_is_no_face_is_rejected_with_its_reason(spoil, reason):
    ((status, said),) = fates(spoil(face(100, 100, 200))).values()
    assert status is FaceStatus.REJECTED
    assert reason in said


def test_an_eye_inside_a_face_is_no_face_of_its_own():
    result = fates(face(100, 100, 400), face(200, 200, 90, score=0.99))
    assert result[100] == (None, None)
    assert result[200][0] is FaceStatus.REJECTED
    assert "inside the face at 100, 100, 500, 500" in result[200][1]


def test_a_doubtful_box_around_a_certain_face_goes():
    result = fates(face(100, 100, 400, score=0.55), face(200, 200, 90, score=0.99))
    assert result[200] == (None, None)
    assert result[100][0] is FaceStatus.REJECTED


def test_faces_side_by_side_are_both_kept():
    assert wanted(face(100, 100, 200), face(250, 120, 180)) == [100, 250]


def test_limits_skip_with_a_reason():
    small, large = face(100, 100, 60), face(300, 100, 400)
    assert fates(small, large, min_face_px=80)[100] == (FaceStatus.SKIPPED, "its 60 px are below min_face_px 80")
    assert fates(small, large, max_face_px=200)[300] == (FaceStatus.SKIPPED, "its 400 px are above max_face_px 200")
    tiny = fates(face(10, 10, 9))[10]
    assert tiny[0] is FaceStatus.SKIPPED
    assert "eyes" in tiny[1]


def test_a_profile_is_skipped():
    profile = face(100, 100, 200)
    landmarks = profile.landmarks.copy()
    landmarks[:, 0] = 200 + (landmarks[:, 0] - 200) * 0.2
    status, reason = fates(dataclasses.replace(profile, landmarks=landmarks))[100]
    assert status is FaceStatus.SKIPPED
    assert "side" in reason


def test_center_largest_and_max_faces_choose():
    faces = face(0, 0, 100), face(440, 340, 120), face(600, 400, 300)
    assert wanted(*faces, faces="center") == [440]
    assert wanted(*faces, faces="largest") == [600]
    assert wanted(*faces, max_faces=2) == [440, 600]
    assert fates(*faces, max_faces=2)[0][1] == "2 larger faces were restored (max_faces)"
    assert wanted(*faces, faces="all") == [0, 440, 600]


def test_largest_counts_what_is_visible():
    assert wanted(face(900, 300, 300), face(100, 100, 200), faces="largest") == [100]


def test_a_rejected_candidate_is_never_chosen():
    assert wanted(face(450, 350, 100, score=0.2), face(0, 0, 100), faces="center") == [0]


def test_no_candidates_give_no_faces():
    assert select((), RestoreOptions(faces="center", max_faces=3), width=10, height=10) == ()


def test_passes_outside_of_one_and_two_are_refused():
    with pytest.raises(UnsupportedOption):
        RestoreOptions(passes=3)
