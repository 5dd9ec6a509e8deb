"""Option files: photomend's own and the seed project's; what is unknown or impossible is named."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from pipeline.training.errors import WrongOptions
from pipeline.training.gan import options, seed_options
from tests import readme

#: Every key of the seed project's train_gfpgan_v1.yml, with its values.
_DISK, _HALVES = {"type": "disk"}, [0.5, 0.5, 0.5]
_COMPONENT, _ADAM = {"type": "FacialComponentDiscriminator"}, {"type": "Adam", "lr": 2e-3}
V1 = {
    "name": "train_GFPGANv1_512", "model_type": "GFPGANModel", "num_gpu": "auto", "manual_seed": 0,
    "datasets": {
        "train": {
            "name": "FFHQ", "type": "FFHQDegradationDataset", "dataroot_gt": "datasets/ffhq/ffhq_512",
            "io_backend": _DISK, "use_hflip": True, "mean": _HALVES, "std": _HALVES, "out_size": 512,
            "blur_kernel_size": 41, "kernel_list": ["iso", "aniso"], "kernel_prob": [0.5, 0.5],
            "blur_sigma": [0.1, 10], "downsample_range": [0.8, 8], "noise_range": [0, 20], "jpeg_range": [60, 100],
            "color_jitter_prob": 0.3, "color_jitter_shift": 20, "color_jitter_pt_prob": 0.3, "gray_prob": 0.01,
            "crop_components": True, "component_path": "landmarks.pth", "eye_enlarge_ratio": 1.4,
            "use_shuffle": True, "num_worker_per_gpu": 6, "batch_size_per_gpu": 3, "dataset_enlarge_ratio": 1,
            "prefetch_mode": None,
        },
        "val": {
            "name": "validation", "type": "PairedImageDataset", "dataroot_lq": "val/input",
            "dataroot_gt": "val/reference", "io_backend": _DISK, "mean": _HALVES, "std": _HALVES, "scale": 1,
        },
    },
    "network_g": {
        "type": "GFPGANv1", "out_size": 512, "num_style_feat": 512, "channel_multiplier": 1,
        "resample_kernel": [1, 3, 3, 1], "decoder_load_path": "stylegan2.pth", "fix_decoder": True, "num_mlp": 8,
        "lr_mlp": 0.01, "input_is_latent": True, "different_w": True, "narrow": 1, "sft_half": True,
    },
    "network_d": {
        "type": "StyleGAN2Discriminator", "out_size": 512, "channel_multiplier": 1, "resample_kernel": [1, 3, 3, 1],
    },
    "network_d_left_eye": _COMPONENT, "network_d_right_eye": _COMPONENT, "network_d_mouth": _COMPONENT,
    "network_identity": {"type": "ResNetArcFace", "block": "IRBlock", "layers": [2, 2, 2, 2], "use_se": False},
    "path": {
        "pretrain_network_g": None, "param_key_g": "params_ema", "strict_load_g": None, "pretrain_network_d": None,
        "pretrain_network_d_left_eye": None, "pretrain_network_d_right_eye": None, "pretrain_network_d_mouth": None,
        "pretrain_network_identity": "arcface.pth", "resume_state": None,
        "ignore_resume_networks": ["network_identity"],
    },
    "train": {
        "optim_g": _ADAM, "optim_d": _ADAM, "optim_component": _ADAM,
        "scheduler": {"type": "MultiStepLR", "milestones": [600000, 700000], "gamma": 0.5},
        "total_iter": 800000, "warmup_iter": -1,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 0.1, "reduction": "mean"},
        "L1_opt": {"type": "L1Loss", "loss_weight": 1, "reduction": "mean"},
        "pyramid_loss_weight": 1, "remove_pyramid_loss": 50000,
        "perceptual_opt": {
            "type": "PerceptualLoss",
            "layer_weights": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1},
            "vgg_type": "vgg19", "use_input_norm": True, "perceptual_weight": 1.0, "style_weight": 50,
            "range_norm": True, "criterion": "l1",
        },
        "gan_opt": {"type": "GANLoss", "gan_type": "wgan_softplus", "loss_weight": 0.1}, "r1_reg_weight": 10,
        "gan_component_opt": {
            "type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": 1.0,
        },
        "comp_style_weight": 200, "identity_weight": 10, "net_d_iters": 1, "net_d_init_iters": 0,
        "net_d_reg_every": 16,
    },
    "val": {
        "val_freq": 5e3, "save_img": True,
        "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}},
    },
    "logger": {
        "print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": False,
        "wandb": {"project": None, "resume_id": None},
    },
    "dist_params": {"backend": "nccl", "port": 29500},
    "find_unused_parameters": True,
}  # fmt: skip

#: What train_gfpgan_v1_simple.yml leaves out.
ONLY_WITH_COMPONENTS = {
    "datasets.train": ["crop_components", "component_path", "eye_enlarge_ratio"],
    "": ["network_d_left_eye", "network_d_right_eye", "network_d_mouth", "network_identity"],
    "train": ["gan_component_opt", "comp_style_weight", "identity_weight"],
}


def at(content, place):
    for name in filter(None, place.split(".")):
        content = content[name]
    return content


def read_seed(tmp_path: Path, content, *, processes: int = 4):
    path = tmp_path / "options.yml"
    path.write_text(yaml.safe_dump(content).replace("gamma: 0.5", "gamma: !!float 5e-1"))
    return seed_options.read(path, processes=processes)


def test_the_seed_project_s_file_is_the_published_run(tmp_path):
    translated = read_seed(tmp_path, V1)

    run = translated.run
    defaults = options.RestorerRun.model_validate({"data": {"pictures": "p"}, "losses": {}})
    assert (run.batch, run.steps, run.rates, run.degradation) == (12, 800_000, defaults.rates, defaults.degradation)
    assert run.components == options.Components()
    assert run.losses.perceptual == options.Perceptual(weights=seed_options.VGG_PATH)
    assert run.losses.identity == options.Identity(weights=Path("arcface.pth"))
    assert (run.losses.pixels, run.losses.pyramid_steps, run.losses.r1_every) == (0.1, 50_000, 16)
    assert run.generator.prior == Path("stylegan2.pth")
    assert run.data.landmarks == Path("landmarks.pth")
    assert run.validation == options.Validation(degraded=Path("val/input"), originals=Path("val/reference"))
    assert translated.notes == ()


def test_the_simple_file_has_no_components_and_no_identity(tmp_path):
    content = copy.deepcopy(V1)
    for place, names in ONLY_WITH_COMPONENTS.items():
        for name in names:
            del at(content, place)[name]

    run = read_seed(tmp_path, content).run

    assert (run.components, run.losses.identity, run.data.landmarks) == (None, None, None)


def test_fine_tuning_takes_the_decoder_from_the_checkpoint_and_says_so(tmp_path):
    content = copy.deepcopy(V1)
    content["path"] |= {"pretrain_network_g": "GFPGANv1.pth", "pretrain_network_identity": None}

    translated = read_seed(tmp_path, content)

    assert (translated.run.generator.start, translated.run.generator.prior) == (Path("GFPGANv1.pth"), None)
    assert translated.run.losses.identity is None
    assert [note.split()[0] for note in translated.notes] == ["network_identity", "decoder_load_path"]


@pytest.mark.parametrize(
    ("place", "change", "named"),
    [
        ("train", {"net_g_magic": 3}, "there is no option train.net_g_magic"),
        ("datasets.train", {"crop_componets": True}, "there is no option datasets.train.crop_componets"),
        ("train", {"net_d_iters": 2}, "train.net_d_iters"),
        ("train.gan_opt", {"gan_type": "hinge"}, "train.gan_opt.gan_type"),
        ("path", {"resume_state": "1.state"}, "path.resume_state"),
        ("", {"model_type": "ESRGANModel"}, "model_type"),
        ("train.perceptual_opt", {"layer_weights": {"conv9_9": -1}}, "layer_weights.conv9_9"),
    ],
)
def test_what_cannot_be_followed_is_named(tmp_path, place, change, named):
    content = copy.deepcopy(V1)
    at(content, place).update(change)

    with pytest.raises(WrongOptions, match=named.replace(".", r"\.")):
        read_seed(tmp_path, content)


def test_all_faults_of_an_own_file_are_named_at_once(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('steps = 0\nspeed = 3\n[data]\npictures = "p"\nsize = 100\n')

    with pytest.raises(WrongOptions, match=r"steps.*speed.*|.*data\.size") as caught:
        options.read(path)
    assert all(word in str(caught.value) for word in ("steps:", "there is no option speed", "data.size:"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[components]\n", "landmarks"),
        ("[degradation]\ndown = [8, 0.8]\n", "down goes from 8 to 0.8"),
        ("[every]\ncurves = 30\ncheckpoint = 100\n", "multiple"),
        ('[generator]\nprior = "a"\nstart = "b"\n', "leave generator.prior out"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path, text, named):
    path = tmp_path / "mine.toml"
    path.write_text(f'[data]\npictures = "p"\n{text}')

    with pytest.raises(WrongOptions, match=named):
        options.read(path)


def test_a_prior_is_trained_with_equalised_layers(tmp_path):
    path = tmp_path / "prior.toml"
    path.write_text('kind = "prior"\n[data]\npictures = "p"\n[generator]\narchitecture = "gfpgan-clean"\n')

    with pytest.raises(WrongOptions, match="equal rates"):
        options.read(path)


def test_the_readme_s_options_are_read(tmp_path):
    (shown,) = [one for one in readme.snippets() if one.language == "toml"]
    path = tmp_path / "mine.toml"
    path.write_text(shown.code)

    run = options.read(path)

    assert run.generator.start == Path("GFPGANv1.4.pth")
    assert set(options.needed_files(run)) == {
        "generator.start", "losses.perceptual.weights", "losses.identity.weights",
    }  # fmt: skip
