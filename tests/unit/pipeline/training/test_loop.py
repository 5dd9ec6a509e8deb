"""The loop: learning, exact resume, checkpoints that survive a kill."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import WeightsCorrupt, WeightsMissing
from pipeline.training import checkpoints
from pipeline.training.checkpoints import read_checkpoint
from pipeline.training.detector_task import DetectorTask
from pipeline.training.loop import Plan, train
from pipeline.training.restorer_task import RestorerTask

FILE = "checkpoint.pth"


def silent(step, figures):
    pass


def small_restorer(faces):
    return RestorerTask(faces, seed=3, vgg=None, batch=2, crop_px=64)


def small_detector(material):
    return DetectorTask(material, seed=3, shapes=((96, 2),) * 3)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("kind", ["restorer", "detector"])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(kind, faces, material, run_folder):
    plan = Plan(steps=8, seed=3, warmup=2, decay_from=0.9)

    def task():
        return small_restorer(faces) if kind == "restorer" else small_detector(material)

    straight, stopped = run_folder / "straight" / FILE, run_folder / "stopped" / FILE
    train(task(), plan, checkpoint=straight, resume=False, every=100, told=silent, until=6)
    train(task(), plan, checkpoint=stopped, resume=False, every=100, told=silent, until=3)
    assert read_checkpoint(stopped).step == 3
    train(task(), plan, checkpoint=stopped, resume=True, every=100, told=silent, until=6)

    one, other = read_checkpoint(straight), read_checkpoint(stopped)
    assert one.step == other.step == 6
    assert equal(one.model, other.model)
    assert equal(one.average, other.average)
    assert equal(one.optimizer, other.optimizer)


def test_the_restorer_learns_a_few_crops_in_a_few_steps(faces, run_folder):
    task = small_restorer(faces)
    plan = Plan(steps=60, seed=3, warmup=10, rate=1e-3, gradient_norm=0.1)
    fixed = [task.loss(step, plan)[1]["pixels"] for step in range(4)]  # the identity's loss on the first samples

    class Repeats:
        model = task.model

        def loss(self, step, plan):
            return task.loss(step % 4, plan)

    train(Repeats(), plan, checkpoint=run_folder / FILE, resume=False, every=100, told=silent)

    learnt = [task.loss(step, plan)[1]["pixels"] for step in range(4)]
    assert sum(learnt) < 0.96 * sum(fixed)


def test_the_detector_learns_a_few_scenes_in_a_few_steps(material, run_folder):
    task = small_detector(material)
    losses = []

    class Repeats:
        model = task.model

        def loss(self, step, plan):
            return task.loss(step % 2, plan)

    plan = Plan(steps=30, seed=3, warmup=3, rate=3e-3)
    told = lambda step, figures: losses.append(figures["loss"])  # noqa: E731
    train(Repeats(), plan, checkpoint=run_folder / FILE, resume=False, every=100, told=told)

    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_on_the_plateau_a_run_of_another_length_is_the_same_run():
    short, long = Plan(steps=100, warmup=10), Plan(steps=200, warmup=10)

    assert [short.rate_at(s) for s in range(65)] == [long.rate_at(s) for s in range(65)]
    assert short.rate_at(99) < 0.01 * short.rate
    assert short.late(64) == 0 < short.late(80) < 1


def test_a_write_that_is_cut_short_leaves_the_old_checkpoint(faces, run_folder, monkeypatch):
    place = run_folder / FILE
    plan = Plan(steps=3, seed=3)
    train(small_restorer(faces), plan, checkpoint=place, resume=False, every=100, told=silent, until=1)
    struck = []

    def dies(content, file):
        file.write(b"half")
        struck.append(True)
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.torch, "save", dies)
    with pytest.raises(OSError, match="disk full"):
        train(small_restorer(faces), plan, checkpoint=place, resume=True, every=1, told=silent)

    assert struck
    assert read_checkpoint(place).step == 1


def test_resuming_without_a_checkpoint_says_so(faces, run_folder):
    with pytest.raises(WeightsMissing, match="--resume"):
        train(small_restorer(faces), Plan(steps=1), checkpoint=run_folder / FILE, resume=True, every=1, told=silent)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "noise.pth").write_bytes(b"not tensors")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")

    for name in ("noise.pth", "other.pth"):
        with pytest.raises(WeightsCorrupt):
            read_checkpoint(tmp_path / name)
