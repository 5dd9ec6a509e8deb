"""The restorer's network and what is shipped of it."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arch.preview import PreviewRestorer
from pipeline.arch.retinaface import build
from pipeline.training import recipe
from pipeline.training.detector_task import DetectorTask
from pipeline.training.loop import Plan, train
from pipeline.training.restorer_task import RestorerTask
from pipeline.weights import WeightStore, preview_folder

#: Bytes of a shipped file at most.
LIMIT = 6_000_000


def test_a_face_costs_at_most_thirty_gigaflop():
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        PreviewRestorer().eval()(torch.rand(1, 3, 512, 512))

    assert 1e9 < counter.get_total_flops() <= 30e9


def test_an_untrained_restorer_changes_nothing():
    face = torch.rand(1, 3, 64, 96)

    with torch.inference_mode():
        assert torch.equal(PreviewRestorer().eval()(face), face)


def test_every_weight_of_the_restorer_gets_a_gradient_once_those_that_start_at_zero_moved():
    network = PreviewRestorer()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)

    network(torch.rand(1, 3, 64, 64)).square().mean().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_exporting_twice_gives_the_same_bytes(faces, tmp_path):
    task = RestorerTask(faces, seed=1, vgg=None, batch=1, crop_px=64)
    place = tmp_path / "checkpoint.pth"
    train(task, Plan(steps=1), checkpoint=place, resume=False, every=1, told=lambda step, figures: None)

    one = recipe.export_restorer(place, tmp_path / "a.pth")
    two = recipe.export_restorer(place, tmp_path / "named_otherwise.pth")

    assert one.sha256 == two.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
    assert one.bytes <= LIMIT


def test_of_a_tuned_detector_large_faces_layers_keep_a_part_of_what_it_was_tuned_from(material, tmp_path):
    place, init = tmp_path / "checkpoint.pth", tmp_path / "init.pth"
    task = DetectorTask(material, seed=1, shapes=((96, 2),) * 3)
    train(task, Plan(steps=1), checkpoint=place, resume=False, every=1, told=lambda step, figures: None)
    torch.manual_seed(9)
    before = build("mobile0.25").state_dict()
    torch.save(before, init)

    alone = torch.load(recipe.export_detector(place, tmp_path / "alone.pth").path)
    mixed = torch.load(recipe.export_detector(place, tmp_path / "mixed.pth", init=init).path)

    changed = {name for name in alone if not torch.equal(alone[name], mixed[name])}
    assert {name.split(".")[0] for name in changed} == {"ssh3", "ClassHead", "BboxHead", "LandmarkHead"}
    assert all(".2." in name for name in changed if "Head" in name)
    name = "ssh3.conv3X3.0.weight"
    assert torch.allclose(mixed[name], 0.95 * alone[name] + 0.05 * before[name], atol=1e-6)


@pytest.mark.parametrize(("name", "network"), [("preview", PreviewRestorer), ("preview-detector", None)])
def test_shipped_weights_are_small_listed_by_hash_and_fit_their_network(name, network, tmp_path):
    store = WeightStore(tmp_path, allow_preview=True)

    tensors = store.load(name)

    assert store.path(name).stat().st_size == store.find(name).bytes <= LIMIT
    (network() if network else build("mobile0.25")).load_state_dict(tensors, strict=True)
    assert all(bool(torch.isfinite(t).all()) for t in tensors.values())


def test_the_model_card_names_the_files_that_are_shipped(tmp_path):
    card = (preview_folder() / "MODEL_CARD.md").read_text(encoding="utf-8")
    store = WeightStore(tmp_path, allow_preview=True)

    assert [name for name in ("preview", "preview-detector") if store.find(name).sha256 not in card] == []


def test_calibration_moves_the_chosen_score_to_one_half_and_keeps_the_order():
    network = build("mobile0.25")
    picture = torch.rand(1, 3, 64, 64) * 255 - 110
    with torch.inference_mode():
        before = network(picture)[1][0, :, 1]
        network.load_state_dict(recipe._calibrated(network.state_dict(), 0.8))
        after = network(picture)[1][0, :, 1]

    assert torch.allclose(torch.logit(after), torch.logit(before) - torch.logit(torch.tensor(0.8)), atol=1e-4)
