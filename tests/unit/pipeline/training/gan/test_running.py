"""Whole runs: they learn, go on exactly, stop when asked, and leave weights that restore."""

from __future__ import annotations

import math
import threading

import cv2
import pytest
import torch

from pipeline.arch import networks
from pipeline.errors import WeightsCorrupt, WeightsMissing
from pipeline.training.checkpoints import CheckpointFolder
from pipeline.training.errors import Diverged, NotResumable, WrongData
from pipeline.training.gan import running
from pipeline.training.gan.curves import read_curves
from pipeline.training.gan.restorer import RestorerTrainee
from pipeline.training.gan.samples import Split
from pipeline.weights import read_checkpoint_file, unwrap
from tests.unit.pipeline.training.gan.conftest import ALONE, SIDE, equal, execute

#: Seconds on a busy machine; on an idle one the slowest takes about ten.
pytestmark = pytest.mark.timeout(240)

WHOLE = Split(batch=4, rank=0, world=1)


def checkpoint(out):
    return CheckpointFolder(out / running.CHECKPOINTS, keep=9).read()


def curve(out, name):
    return [mean for _, row, mean in read_curves(out / running.CURVES) if row == name]


def test_a_restorer_learns(restorer, tmp_path):
    gentle = {"blur_sigma": [0.1, 2], "down": [1, 2], "noise_sigma": [0, 5]}
    seldom = {"checkpoint": 24, "samples": 24}
    run = restorer(
        steps=24, components=None, every=seldom, degradation=gentle, rates={"generator": 5e-3}, losses={"r1_every": 16}
    )
    execute(run, tmp_path)

    pyramid = curve(tmp_path, "pyramid")
    assert len(pyramid) == 24
    assert sum(pyramid[-5:]) < 0.85 * sum(pyramid[:5])


@pytest.mark.parametrize("kind", ["restorer", "prior"])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(kind, restorer, prior, tmp_path):
    run = (restorer if kind == "restorer" else prior)()
    asked = threading.Event()

    def told(step, row):
        if step == 2:
            asked.set()

    whole = execute(run, tmp_path / "whole")
    stopped = execute(run, tmp_path / "stopped", told=told, stop=asked.is_set)
    resumed = execute(run, tmp_path / "stopped", resume=True)

    assert (whole.finished, stopped.finished, resumed.finished) == (True, False, True)
    assert stopped.step == 3  # asked after step 2 was told, obeyed after the next
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))
    curves = [(tmp_path / name / running.CURVES).read_text() for name in ("whole", "stopped")]
    assert curves[0] == curves[1]
    assert {"r1", "norm_generator"} <= {name for _, name, _ in read_curves(tmp_path / "whole" / running.CURVES)}


def test_a_resumed_run_drops_the_rows_of_steps_that_are_done_again(restorer, tmp_path):
    """A kill between two checkpoints leaves rows behind, and perhaps half a line."""
    execute(restorer(steps=2), tmp_path)
    with (tmp_path / running.CURVES).open("a") as file:
        file.write("3,pixels,0.5\n4,pix")

    execute(restorer(steps=3), tmp_path, resume=True)

    rows = [step for step, name, _ in read_curves(tmp_path / running.CURVES) if name == "pixels"]
    assert rows == [1, 2, 3]


def test_only_the_last_checkpoints_stay_and_a_damaged_one_is_refused_by_its_hash(restorer, tmp_path):
    execute(restorer(steps=6, components=None), tmp_path)

    folder = tmp_path / running.CHECKPOINTS
    assert sorted(p.name for p in folder.glob("*.pth")) == ["step-00000004.pth", "step-00000006.pth"]
    newest = folder / "step-00000006.pth"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    with pytest.raises(WeightsCorrupt, match="remove it to go on from step 4"):
        execute(restorer(steps=8, components=None), tmp_path, resume=True)
    newest.unlink()
    assert checkpoint(tmp_path)[0] == 4


def test_a_run_does_not_go_on_with_other_options_or_over_another_run(restorer, tmp_path):
    execute(restorer(steps=1), tmp_path)

    with pytest.raises(NotResumable, match="seed, losses"):
        execute(restorer(seed=6, losses={"r1": 1}), tmp_path, resume=True)
    with pytest.raises(WrongData, match="--resume"):
        execute(restorer(), tmp_path)
    with pytest.raises(WeightsMissing, match="without --resume"):
        execute(restorer(), tmp_path / "nothing", resume=True)


def test_extracted_weights_restore_and_are_a_start_for_the_next_run(restorer, tmp_path):
    execute(restorer(steps=1), tmp_path / "run")
    digest, architecture = running.extract(tmp_path / "run", tmp_path / "mine.pth")

    state = unwrap(read_checkpoint_file(tmp_path / "mine.pth"), "mine.pth")
    network = networks.build(architecture, state, name="mine").module
    assert len(digest) == 64
    with torch.inference_mode():
        assert torch.isfinite(network(torch.zeros(1, 3, SIDE, SIDE))).all()
    # Widths are the file's, whatever the options say.
    again = restorer(generator={"start": str(tmp_path / "mine.pth"), "narrow": 1, "style": 512})
    trainee = RestorerTrainee(again, part=WHOLE, processes=ALONE)
    assert equal(trainee.averaged_weights(), dict(network.state_dict()))
    with pytest.raises(WrongData, match="there already"):
        running.extract(tmp_path / "run", tmp_path / "mine.pth")


def test_a_released_clean_checkpoint_is_trained_further_its_prior_kept(restorer, tmp_path):
    from pipeline.arch.gfpgan_clean import GFPGANv1Clean

    released = GFPGANv1Clean(SIDE, style=16, narrow=0.0625, multiplier=2).state_dict()
    torch.save({"params_ema": released}, tmp_path / "released.pth")
    start = {"architecture": "gfpgan-clean", "start": str(tmp_path / "released.pth")}

    execute(restorer(steps=2, generator=start), tmp_path / "run")

    after = checkpoint(tmp_path / "run")[1]["trainee"]["generator"]["network"]
    moved = {name for name, value in released.items() if not torch.equal(after[f"network.{name}"], value)}
    assert any(name.startswith("conv_body_down") for name in moved)
    assert not any(name.startswith("stylegan_decoder") for name in moved)
    torch.save({"params_ema": dict(list(released.items())[:-1])}, tmp_path / "torn.pth")
    with pytest.raises(WeightsCorrupt, match="lacks"):
        execute(restorer(generator=start | {"start": str(tmp_path / "torn.pth")}), tmp_path / "torn")


def test_a_trained_prior_becomes_a_restorer_s_decoder_and_stays_as_it_is(prior, restorer, tmp_path):
    execute(prior(steps=2), tmp_path / "prior")
    _, architecture = running.extract(tmp_path / "prior", tmp_path / "stylegan2.pth")
    decoder = unwrap(read_checkpoint_file(tmp_path / "stylegan2.pth"), "stylegan2.pth")

    execute(restorer(steps=2, generator={"prior": str(tmp_path / "stylegan2.pth")}), tmp_path / "run")

    assert architecture == "stylegan2"
    after = checkpoint(tmp_path / "run")[1]["trainee"]["average"]
    assert all(torch.equal(after[f"stylegan_decoder.{name}"], value) for name, value in decoder.items())
    assert cv2.imread(str(tmp_path / "prior" / "samples" / "step-00000002.png")).shape == (4 * SIDE, 4 * SIDE, 3)
    assert cv2.imread(str(tmp_path / "run" / "samples" / "step-00000002.png")).shape == (3 * SIDE, 4 * SIDE, 3)


def test_reduced_precision_trains_in_finite_numbers(restorer, tmp_path):
    execute(restorer(steps=2, precision="bfloat16"), tmp_path)

    assert all(math.isfinite(mean) for _, _, mean in read_curves(tmp_path / running.CURVES))


def test_the_simple_variant_without_pyramid_or_components_trains_with_validation(restorer, pictures, tmp_path):
    run = restorer(components=None, losses={"pyramid": 0}, validation={"degraded": pictures, "originals": pictures})
    execute(run, tmp_path)

    names = {name for _, name, _ in read_curves(tmp_path / running.CURVES)}
    assert {"pixels", "adversarial", "discriminator"} <= names
    assert not {"mouth", "pyramid", "component_style"} & names
    assert [name for _, name, _ in read_curves(tmp_path / running.VALIDATION)] == ["psnr", "ssim"]


def test_gradients_that_are_not_finite_change_nothing_and_end_the_run_when_they_go_on(restorer, monkeypatch):
    trainee = RestorerTrainee(restorer(patience=2), part=WHOLE, processes=ALONE)
    before = {name: value.clone() for name, value in trainee.judge.bare.state_dict().items()}
    endless = next(trainee.judge.bare.parameters()).sum() * math.inf

    norm = trainee.judge.learn(endless, 0)

    assert not torch.isfinite(norm)
    assert equal(trainee.judge.bare.state_dict(), before)
    with pytest.raises(Diverged, match=r"discriminator's gradient was not finite in 2 steps in a row, up to step 2"):
        trainee.judge.learn(next(trainee.judge.bare.parameters()).sum() * math.inf, 1)


def test_missing_weights_are_all_named_before_anything_is_built(restorer, tmp_path):
    run = restorer(
        losses={"perceptual": {"weights": "no-vgg.pth"}, "identity": {"weights": "no-arcface.pth"}},
        generator={"prior": "no-prior.pth"},
    )
    with pytest.raises(WeightsMissing, match=r"no-prior.*no-vgg.*no-arcface.*turns that part off"):
        execute(run, tmp_path)
