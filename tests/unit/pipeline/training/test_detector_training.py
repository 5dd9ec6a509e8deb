"""Anchors, the loss over them, and the composed scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from pipeline.arch.retinaface import anchors, decode_boxes, decode_landmarks
from pipeline.evaluation.detection import matches
from pipeline.training.anchors import Targets, assign, corners, encode_boxes, encode_points, multibox_loss, overlap
from pipeline.training.faces import FACE_PX
from pipeline.training.placement import Label, mirrored, moved
from pipeline.training.scenes import _placement, _warp_onto, compose
from pipeline.types import Face

SIDE = 128


def targets(boxes, ignored=()):
    box = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    middle = ((box[:, :2] + box[:, 2:]) / 2).repeat(1, 5)
    return Targets(boxes=box, landmarks=middle, ignored=torch.tensor(list(ignored), dtype=torch.float32).reshape(-1, 4))


def test_encoded_boxes_and_landmarks_decode_to_what_they_were():
    priors = anchors(SIDE, SIDE)
    boxes = corners(priors) + torch.randn(len(priors), 4)
    points = torch.rand(len(priors), 10) * SIDE

    assert torch.allclose(decode_boxes(encode_boxes(boxes, priors), priors), boxes, atol=1e-2)
    decoded = decode_landmarks(encode_points(points, priors), priors).flatten(1)
    assert torch.allclose(decoded, points, atol=1e-2)


def test_a_face_gets_the_anchors_that_overlap_it_and_the_rest_is_background():
    priors = anchors(SIDE, SIDE)
    face = corners(priors)[40].tolist()

    answer = assign(targets([face]), priors)

    shared = overlap(corners(priors), torch.tensor([face]))[:, 0]
    assert answer.label[40] == 1
    assert set(answer.label[shared >= 0.4].tolist()) == {1}
    assert set(answer.label[shared < 0.25].tolist()) == {0}
    assert torch.allclose(answer.box[40], torch.zeros(4), atol=1e-5)


def test_a_face_that_no_anchor_fits_still_gets_its_best_one():
    answer = assign(targets([[60, 60, 66, 67]]), anchors(SIDE, SIDE))

    assert int((answer.label == 1).sum()) == 1


def test_an_unclear_face_is_neither_face_nor_background():
    priors = anchors(SIDE, SIDE)
    unclear = corners(priors)[40].tolist()

    answer = assign(targets([], ignored=[unclear]), priors)

    assert answer.label[40] == -1
    assert int((answer.label == 1).sum()) == 0


def test_the_right_answer_costs_less_than_any_other_and_false_alarms_cost_without_faces_too():
    priors = anchors(SIDE, SIDE)
    assigned = [assign(targets([[20, 20, 60, 70]]), priors), assign(targets([]), priors)]
    face = torch.stack([a.label for a in assigned]) == 1
    sure = torch.stack([(~face).float(), face.float()], -1) * 20 - 10
    box, points = (torch.stack([getattr(a, name) for a in assigned]) for name in ("box", "landmarks"))

    right, _ = multibox_loss((box, sure, points), assigned)
    moved, _ = multibox_loss((box + 1, sure, points), assigned)
    alarmed, _ = multibox_loss((box[1:], -sure[1:], points[1:]), assigned[1:])

    assert float(right) < 1e-3
    assert float(moved) > 1
    assert float(alarmed) > 1
    assert torch.isfinite(alarmed)


def test_the_same_seed_composes_the_same_scene(material):
    one, same, other = (compose(material, side=SIDE, rng=default_rng(seed)) for seed in (4, 4, 5))

    assert np.array_equal(one.image, same.image)
    assert torch.equal(one.targets.boxes, same.targets.boxes)
    assert not np.array_equal(one.image, other.image)


def test_scenes_hold_values_in_range_and_boxes_that_touch_the_picture(material):
    scenes = [compose(material, side=SIDE, rng=default_rng(seed)) for seed in range(30)]

    boxes = torch.cat([s.targets.boxes for s in scenes])
    assert all(s.image.dtype == np.float32 and 0 <= s.image.min() <= s.image.max() <= 1 for s in scenes)
    assert len(boxes) > 15
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] < SIDE).all()
    assert any(len(s.targets.boxes) == 0 for s in scenes)


@pytest.mark.parametrize("seed", range(6))
def test_a_pasted_landmark_lies_where_its_label_says(seed):
    """A bright dot in the crop is found in the scene at the label's place, at any scale and angle."""
    rng = default_rng(seed)
    dot = (300, 200)
    y, x = np.mgrid[:FACE_PX, :FACE_PX]
    spot = np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * 12**2)).astype(np.float32)
    patch = np.repeat(spot[:, :, None], 3, axis=2)
    label = Label(box=np.array([120, 88, 400, 472], np.float32), landmarks=np.array([dot] * 5, np.float32))
    scale = float(rng.uniform(0.15, 0.9))
    placed = _placement(label, scale, 320, rng, whole=False)
    canvas = np.zeros((320, 320, 3), np.float32)

    scene = _warp_onto(canvas, patch, np.ones((FACE_PX, FACE_PX), np.float32), placed=placed, scale=scale, rng=rng)

    said = moved(label, placed).landmarks[0]
    rows, columns = np.nonzero(scene[:, :, 0] > 0.6 * scene.max())  # relighting may saturate the spot's middle
    found = columns.mean(), rows.mean()
    assert 3 < said[0] < 316
    assert 3 < said[1] < 316, "the seed puts the dot outside: choose another"
    assert np.hypot(found[0] - said[0], found[1] - said[1]) < 0.6


def test_a_mirrored_label_swaps_left_and_right():
    points = np.array([[100, 50], [300, 52], [200, 100], [120, 150], [280, 151]], np.float32)
    label = Label(box=np.array([90, 40, 320, 200], np.float32), landmarks=points)

    turned = mirrored(label)

    assert turned.landmarks[0].tolist() == [511 - 300, 52]
    assert turned.landmarks[4].tolist() == [511 - 120, 150]
    assert turned.box.tolist() == [511 - 320, 40, 511 - 90, 200]
    assert np.array_equal(mirrored(turned).landmarks, points)


def test_each_face_is_matched_once_and_best_first():
    def face(*box):
        return Face(box=box, landmarks=np.zeros((5, 2), np.float32), score=1.0)

    truth = [face(0, 0, 10, 10), face(100, 100, 120, 120)]
    answer = [face(0, 0, 10, 14), face(0, 0, 10, 11), face(300, 300, 320, 320)]

    pairs = matches(truth, answer)

    assert pairs == [(truth[0], answer[1])]
