"""False faces are rejected, unwanted ones skipped, each with its reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline import geometry
from pipeline.errors import FaceNotFound, UnsupportedOption
from pipeline.options import RestoreOptions
from pipeline.selection import notices, select
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


def candidate(x0, y0, x1, y1, *, landmarks=None, score=0.97):
    """A false face, surer than the true one; its landmarks are a face's, squeezed into its box, unless given."""
    regular = face(0, 0, 1).landmarks * [x1 - x0, y1 - y0] + [x0, y0]
    points = regular if landmarks is None else landmarks
    return Face(box=(x0, y0, x1, y1), landmarks=np.array(points, np.float32), score=score)


def shrunk(points, factor):
    middle = np.mean(points, axis=0)
    return (points - middle) * factor + middle


SIDE = face(600, 100, 200).landmarks

#: What detectors take for faces beside or on a true one at 100, 100, 500, 500.
FALSE_FACES = {
    "ear": (candidate(440, 250, 500, 340), "inside the face"),
    "eye": (candidate(180, 210, 270, 290), "inside the face"),
    "nose and mouth": (candidate(170, 250, 430, 470), "inside the face"),
    "button row": (candidate(280, 510, 320, 790), "too drawn out"),
    "mirrored": (candidate(600, 100, 800, 300, landmarks=SIDE[[1, 0, 2, 4, 3]]), "wrong way round"),
    "mouth above eyes": (candidate(600, 100, 800, 300, landmarks=SIDE[[3, 4, 2, 0, 1]]), "wrong way round"),
    "crossed mouth": (candidate(600, 100, 800, 300, landmarks=SIDE[[0, 1, 2, 4, 3]]), "mouth lies the other way round"),
    "one point": (candidate(600, 100, 800, 300, landmarks=np.repeat([[700, 200]], 5, axis=0)), "in one place or line"),
    "nearly one point": (candidate(600, 100, 800, 300, landmarks=shrunk(SIDE, 0.1)), "in one place or line"),
    "a line": (candidate(600, 100, 800, 300, landmarks=SIDE * [1, 0.02] + [0, 180]), "in one place or line"),
    "landmarks elsewhere": (candidate(600, 100, 800, 300, landmarks=SIDE + 150), "outside its box"),
}


@pytest.mark.parametrize("name", FALSE_FACES)
def test_a_false_face_is_rejected_with_its_reason_and_the_true_one_beside_it_stays(name):
    false, reason = FALSE_FACES[name]
    result = fates(face(100, 100, 400), false)
    assert result.pop(100) == (None, None)
    ((status, said),) = result.values()
    assert status is FaceStatus.REJECTED
    assert reason in said


def in_profile(frontal):
    """Eyes and mouth corners nearly one behind the other, nose at the side."""
    x0, _, x1, _ = frontal.box
    landmarks = frontal.landmarks.copy()
    landmarks[:, 0] = (x0 + x1) / 2 + (landmarks[:, 0] - (x0 + x1) / 2) * 0.2
    landmarks[2, 0] = x0 + (x1 - x0) * 0.2
    return dataclasses.replace(frontal, landmarks=landmarks)


def test_an_ear_of_a_profile_is_rejected_and_the_profile_is_skipped_for_its_own_reason():
    result = fates(in_profile(face(100, 100, 400)), candidate(390, 230, 470, 350, score=0.9))
    assert result[100] == (FaceStatus.SKIPPED, "it is turned too far to the side")
    assert result[390][0] is FaceStatus.REJECTED
    assert "inside the face at 100, 100, 500, 500" in result[390][1]


def test_a_tiny_face_beside_a_true_one_is_skipped():
    result = fates(face(100, 100, 400), candidate(600, 100, 609, 110))
    assert result[100] == (None, None)
    assert result[600] == (FaceStatus.SKIPPED, "its eyes are 3.8 px apart; 5 are needed")


def test_an_eye_inside_a_face_is_no_face_of_its_own():
    result = fates(face(100, 100, 400), face(200, 200, 90, score=0.99))
    assert result[100] == (None, None)
    assert result[200][0] is FaceStatus.REJECTED
    assert "inside the face at 100, 100, 500, 500" in result[200][1]


def test_a_doubtful_box_around_a_certain_face_goes():
    result = fates(face(100, 100, 400, score=0.55), face(200, 200, 90, score=0.99))
    assert result[200] == (None, None)
    assert result[100][0] is FaceStatus.REJECTED


def test_with_rotate_a_doubtful_face_that_stands_another_way_up_than_most_is_rejected():
    faces = face(100, 100, 100), face(300, 100, 100, score=0.6), face(500, 100, 100, score=0.9, degrees=180)
    assert wanted(*faces) == [100, 300, 500]
    assert wanted(*faces, rotate=True) == [100, 300]
    assert "another way up" in fates(*faces, rotate=True)[500][1]
    assert wanted(*faces[:2], face(500, 100, 100, score=0.97, degrees=90), rotate=True) == [100, 300, 500]


def test_with_rotate_most_faces_may_be_turned():
    assert wanted(face(0, 0, 100, score=0.6, degrees=-90), rotate=True) == [0]
    turned = (
        face(0, 0, 100, score=0.6, degrees=90),
        face(200, 0, 100, score=0.7, degrees=85),
        face(400, 0, 100, score=0.9),
    )
    assert wanted(*turned, rotate=True) == [0, 200]


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


FACES = face(0, 0, 100), face(440, 340, 120), face(600, 400, 300)


def ids(*faces, **options):
    chosen = select(faces, RestoreOptions(**options), width=1000, height=800)
    return {round(c.face.box[0]): c.id for c in chosen}


def test_faces_are_chosen_by_id_and_by_box():
    names = ids(*FACES)
    assert wanted(*FACES, faces=(names[440],)) == [440]
    assert wanted(*FACES, faces=(names[0], names[600])) == [0, 600]
    assert wanted(*FACES, faces=((430.0, 300.0, 580.0, 470.0),)) == [440]
    assert wanted(*FACES, faces=((430.0, 300.0, 580.0, 470.0), names[0])) == [0, 440]
    assert fates(*FACES, faces=(names[440],))[0] == (FaceStatus.SKIPPED, "it was not chosen (faces)")


@pytest.mark.parametrize(
    "others",
    [{"min_score": 0.97}, {"max_faces": 1}, {"min_face_px": 200}, {"max_face_px": 110}, {"faces": "largest"}],
    ids=str,
)
def test_an_id_does_not_depend_on_the_other_options_nor_on_other_candidates(others):
    names = ids(*FACES)
    assert ids(*FACES, **others) == names
    more = ids(*FACES, face(200, 10, 50, score=0.31), **others)
    assert names.items() <= more.items()


def test_a_chosen_face_that_is_not_there_is_an_error_that_says_what_is():
    names = ids(*FACES)
    with pytest.raises(FaceNotFound, match=r"no face is at \[300, 0, 400, 100\], m0000; found were ") as caught:
        select(FACES, RestoreOptions(faces=((300.0, 0.0, 400.0, 100.0), "m0000", names[0])), width=1000, height=800)
    assert all(name in str(caught.value) for name in names.values())
    with pytest.raises(FaceNotFound, match="none was found"):
        select((), RestoreOptions(faces=("m0000",)), width=1000, height=800)


def test_a_chosen_face_that_cannot_be_restored_is_told_of():
    doubtful = face(100, 100, 200, score=0.4)
    name = ids(doubtful)[100]
    chosen = select([doubtful], RestoreOptions(faces=(name,)), width=1000, height=800)
    assert [n.detail for n in notices(chosen)] == [f"face {name} was chosen, but score 0.40 is below 0.5"]
    chosen = select([*FACES, doubtful], RestoreOptions(faces=(ids(*FACES)[0],)), width=1000, height=800)
    assert notices(chosen) == ()
    chosen = select(FACES, RestoreOptions(faces=tuple(ids(*FACES).values()), max_faces=2), width=1000, height=800)
    assert [n.code for n in notices(chosen)] == ["chosen_face_skipped"]


def test_a_box_around_a_face_and_a_false_one_in_it_means_the_face():
    real, false = face(100, 100, 400), face(200, 200, 250, score=0.4)
    assert wanted(real, false, faces=((190.0, 190.0, 460.0, 460.0),)) == [100]
    assert fates(real, false, faces=(ids(real, false)[200],))[100][0] is FaceStatus.SKIPPED


def test_passes_outside_of_one_and_two_are_refused():
    with pytest.raises(UnsupportedOption):
        RestoreOptions(passes=3)
