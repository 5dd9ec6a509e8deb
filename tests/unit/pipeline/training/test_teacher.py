"""A detector that learns from another one's features."""

from __future__ import annotations

import pytest
import torch
from numpy.random import default_rng

from pipeline.arch.retinaface import build
from pipeline.training.anchors import BOX_WEIGHT
from pipeline.training.detector_task import TEACHER_WEIGHT, DetectorTask, network_input
from pipeline.training.loop import Plan
from pipeline.training.scenes import compose
from pipeline.training.teacher import Features, Teacher, features_missed, load_teacher

SHAPES = ((96, 2),) * 3


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(5)
    return load_teacher({f"module.{name}": value for name, value in build("mobile0.25").state_dict().items()})


def test_a_network_misses_nothing_of_its_own_features_and_something_of_anothers(teacher):
    torch.manual_seed(5)
    same, pictures = build("mobile0.25"), torch.randn(1, 3, 96, 96) * 50
    features = Features(same)

    same(pictures)
    found = features.take()

    assert [f.shape[1:] for f in found] == [(64, s, s) for s in (12, 12, 6, 6, 3, 3)]
    assert float(features_missed(found, teacher.features(pictures)).detach()) == pytest.approx(0, abs=1e-6)
    assert float(features_missed(found, teacher.features(-pictures)).detach()) > 1e-4


def test_the_teacher_sees_each_picture_before_it_grew_old(teacher, material, monkeypatch):
    seen = []
    monkeypatch.setattr(Teacher, "features", lambda self, x: (seen.append(x), _none_of(x))[1])
    task, plan = DetectorTask(material, seed=3, teacher=teacher, shapes=SHAPES), Plan(steps=10, seed=3)

    task.loss(0, plan)

    clean = [compose(material, side=96, rng=default_rng([3, 0, place])).clean for place in range(2)]
    assert torch.equal(seen[0], network_input(clean))


def _none_of(pictures: torch.Tensor) -> list[torch.Tensor]:
    sides = [pictures.shape[2] // stride for stride in (8, 8, 16, 16, 32, 32)]
    return [torch.zeros(len(pictures), 64, side, side) for side in sides]


def test_what_the_teacher_says_ends_with_the_learning_rate_and_leaves_it_unchanged(teacher, material):
    pupil = DetectorTask(material, seed=3, teacher=teacher, shapes=SHAPES)
    alone = DetectorTask(material, seed=3, shapes=SHAPES)
    alone.model.load_state_dict(pupil.model.state_dict())
    plan = Plan(steps=10, seed=3, decay_from=0.5)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}

    def more(step: int) -> tuple[float, float]:
        for task in (pupil, alone):
            task.model.eval()  # the same statistics for both
        (loss, figures), (labels, _) = pupil.loss(step, plan), alone.loss(step, plan)
        loss.backward()
        return float((loss - labels).detach()), figures["teacher"]

    extra, missed = more(0)
    assert extra == pytest.approx(TEACHER_WEIGHT * missed, rel=1e-3)
    extra, missed = more(10)
    assert missed > 0
    assert extra == pytest.approx(0, abs=1e-4)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_scene_is_kept_as_it_was_before_it_grew_old(material):
    scenes = [compose(material, side=96, rng=default_rng(seed), hard=True) for seed in range(12)]

    assert all(s.clean.shape == s.image.shape == (96, 96, 3) for s in scenes)
    assert any(abs(s.clean - s.image).mean() > 0.01 for s in scenes)
    assert all(s.clean.min() >= 0 and s.clean.max() <= 1 for s in scenes)


@pytest.mark.parametrize(
    ("tuned", "step", "weight"), [(True, 0, 1.0), (True, 10, 5.0), (True, 8, 3.0), (False, 10, 1.0)]
)
def test_landmarks_come_to_count_more_while_a_tuned_detectors_rate_falls(material, tuned, step, weight):
    start = build("mobile0.25").state_dict() if tuned else None
    task = DetectorTask(material, seed=3, start=start, shapes=SHAPES)
    plan = Plan(steps=10, seed=3, decay_from=0.5)

    loss, figures = task.loss(step, plan)

    rest = float(loss.detach()) - figures["class"] - BOX_WEIGHT * figures["box"]
    assert rest == pytest.approx(weight * figures["landmark"], rel=1e-3)
