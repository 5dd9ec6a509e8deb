"""Training's parts are the seed project's: discriminators, recogniser, losses, regions, kernels, colours, schedules."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.arch.discriminators import ComponentDiscriminator, StyleGAN2Discriminator
from pipeline.arch.gfpgan_original import Decoder
from pipeline.arch.gray_arcface import FACE_PX, GrayArcFace
from pipeline.arch.stylegan2 import Generator
from pipeline.arch.vgg import NAMES
from pipeline.compat import foreign
from pipeline.training.gan import losses
from pipeline.training.gan.options import Rates
from pipeline.training.gan.rates import rate_at
from pipeline.training.gan.regions import regions
from tests.parity import upstream
from tests.parity.test_gfpgan_parity import difference

TOLERANCE = 1e-5


def jolted(network: nn.Module) -> nn.Module:
    """With biases and statistics that are not those of the start, so that they must be loaded to agree."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    upstream.randomise_batch_norm(network)
    return network.eval()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


@pytest.mark.parametrize(("batch", "group"), [(4, 4), (6, 3), (3, 4)])
def test_the_discriminator_agrees(monkeypatch, batch, group):
    upstream.plain_fused_activation(monkeypatch)
    with foreign():
        from basicsr.archs.stylegan2_arch import StyleGAN2Discriminator as Theirs
    theirs = jolted(Theirs(32, channel_multiplier=1, narrow=0.125, stddev_group=group))
    ours = StyleGAN2Discriminator(32, narrow=0.125, multiplier=1, group=group)
    ours.load_state_dict(theirs.state_dict())
    faces = torch.rand(batch, 3, 32, 32) * 2 - 1

    with torch.no_grad():
        assert difference(ours(faces), theirs(faces)) < TOLERANCE


def test_the_component_discriminator_and_its_features_agree(monkeypatch):
    upstream.plain_fused_activation(monkeypatch)
    with foreign():
        from gfpgan.archs.gfpganv1_arch import FacialComponentDiscriminator
    theirs = jolted(FacialComponentDiscriminator())
    ours = ComponentDiscriminator()
    ours.load_state_dict(theirs.state_dict())
    eyes = torch.rand(2, 3, 20, 20) * 2 - 1

    with torch.no_grad():
        (score, features), (wanted, wanted_features) = ours(eyes), theirs(eyes, return_feats=True)

    assert difference(score, wanted) < TOLERANCE
    assert all(difference(a, b) < TOLERANCE for a, b in zip(features, wanted_features, strict=True))


def test_the_recogniser_and_what_it_is_shown_agree():
    with foreign():
        from gfpgan.archs.arcface_arch import ResNetArcFace
        from gfpgan.models.gfpgan_model import GFPGANModel
    theirs = jolted(ResNetArcFace("IRBlock", (2, 2, 2, 2), use_se=False))
    ours = GrayArcFace().eval()
    ours.load_state_dict(theirs.state_dict())
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    seen = GFPGANModel.gray_resize_for_identity(None, faces)

    assert seen.shape[-1] == FACE_PX
    assert torch.allclose(losses.gray_face(faces), seen, atol=1e-6)
    with torch.no_grad():
        assert difference(ours(seen), theirs(seen)) < TOLERANCE


@pytest.mark.parametrize("crossover", [None, 3])
def test_the_prior_s_generator_agrees(monkeypatch, crossover):
    upstream.plain_fused_activation(monkeypatch)
    with foreign():
        from gfpgan.archs.stylegan2_bilinear_arch import StyleGAN2GeneratorBilinear
    theirs = StyleGAN2GeneratorBilinear(32, num_style_feat=16, channel_multiplier=1, narrow=0.125).eval()
    ours = Generator(Decoder(size=32, style=16, narrow=0.125, multiplier=1, resampling="bilinear"))
    ours.decoder.load_state_dict(theirs.state_dict())
    codes = [torch.randn(2, 16) for _ in range(1 if crossover is None else 2)]

    with torch.no_grad():
        picture, latent = ours(codes, None, crossover)
        wanted, wanted_latent = theirs(codes, randomize_noise=False, inject_index=crossover, return_latents=True)

    assert difference(picture, wanted) < TOLERANCE
    assert difference(latent, wanted_latent) < TOLERANCE


def test_adversarial_losses_agree():
    with foreign():
        from basicsr.losses.gan_loss import GANLoss, g_path_regularize, r1_penalty
    real, made = torch.randn(4, 1), torch.randn(4, 1)
    faces, parts = GANLoss("wgan_softplus"), GANLoss("vanilla")

    assert losses.taken_for_real(made) == pytest.approx(float(faces(made, True)))
    both = faces(real, True, is_disc=True) + faces(made, False, is_disc=True)
    assert losses.told_apart(real, made) == pytest.approx(float(both))
    both = parts(real, True, is_disc=True) + faces(made, False, is_disc=True)  # as for components
    assert losses.told_apart(real, made) == pytest.approx(float(both))

    pictures = torch.randn(2, 3, 8, 8, requires_grad=True)
    scores = (pictures**3).sum((1, 2, 3))
    assert torch.allclose(losses.gradient_penalty(scores, pictures), r1_penalty(scores, pictures))

    latents = torch.randn(2, 4, 5, requires_grad=True)
    moved = torch.einsum("bls,chw->bchw", latents.square(), torch.randn(3, 8, 8))
    torch.manual_seed(1)
    penalty, mean, followed = g_path_regularize(moved, latents, 0.5)
    torch.manual_seed(1)
    lengths = losses.path_lengths(moved, latents, torch.randn_like(moved))
    assert torch.allclose(lengths.mean(), mean)
    assert torch.allclose(torch.lerp(torch.tensor(0.5), mean, losses.PATH_DECAY), followed)
    assert torch.allclose((lengths - followed).square().mean(), penalty, rtol=1e-3)


def vgg(width: int) -> nn.Sequential:
    """VGG-19's layers as torchvision stacks them, narrower, up to conv3_4."""
    torch.manual_seed(2)
    layers, before = [], 3
    for name, following in pairwise(NAMES[:9]):
        out = width * int(name[4])
        layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2, 2)] if following.endswith("_1") else []
        before = out
    return nn.Sequential(*layers)


def test_perceptual_and_style_losses_agree(monkeypatch):
    layers = {"conv1_2": 0.1, "conv2_2": 0.5, "conv3_4": 1.0}
    stack = vgg(8)
    with foreign():
        from basicsr.archs import vgg_arch
        from basicsr.losses.basic_loss import PerceptualLoss
        from gfpgan.models.gfpgan_model import GFPGANModel
    monkeypatch.setattr(vgg_arch.vgg, "vgg19", lambda **_: SimpleNamespace(features=stack))
    theirs = PerceptualLoss(layers, range_norm=True, perceptual_weight=1, style_weight=1)
    ours = losses.PerceptualLoss({f"features.{k}": v for k, v in stack.state_dict().items()}, layers)
    one, other = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1

    assert [float(x) for x in ours(one, other)] == pytest.approx([float(x) for x in theirs(one, other)], rel=1e-5)
    assert torch.allclose(losses.gram(one), GFPGANModel._gram_mat(None, one), atol=1e-6)


def test_regions_are_those_of_torchvision_s_operator_in_plain_python():
    with foreign():
        from torchvision.ops.roi_align import _roi_align
    pictures = torch.rand(3, 2, 40, 50)
    boxes = torch.tensor([[3.0, 4, 30, 31], [10.5, 8.25, 17.5, 15.25], [-0.5, 20, 49.5, 40]])
    numbered = torch.cat([torch.arange(3.0)[:, None], boxes], dim=1)

    wanted = _roi_align.__wrapped__(pictures, numbered, 1.0, 9, 9, -1, False)

    assert torch.allclose(regions(pictures, boxes, side=9), wanted, atol=1e-5)
    # Beyond a pixel outside there is nothing: as the compiled operator; the one in plain Python repeats the edge.
    outside = regions(pictures, torch.tensor([[60.0, 60, 80, 80]] * 3), side=4)
    assert not outside.any()


@pytest.mark.parametrize(
    "plan",
    [
        Rates(milestones=(3, 3, 7), gamma=0.5),
        Rates(milestones=(2, 6), restarts=(4,), restart_weights=(0.5,), gamma=0.1),
        Rates(periods=(4, 6), restart_weights=(1, 0.5), least=1e-5),
    ],
)
def test_rates_are_basicsr_s(plan):
    with foreign():
        from basicsr.models import lr_scheduler
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=2e-3)
    if plan.periods:
        words = {"periods": plan.periods, "restart_weights": plan.restart_weights, "eta_min": plan.least}
        scheduler = lr_scheduler.CosineAnnealingRestartLR(optimizer, **words)
    else:
        words = {"restarts": plan.restarts or (0,), "restart_weights": plan.restart_weights or (1,)}
        scheduler = lr_scheduler.MultiStepRestartLR(optimizer, plan.milestones, gamma=plan.gamma, **words)
    for step in range(10):
        assert rate_at(step, 2e-3, plan) == pytest.approx(optimizer.param_groups[0]["lr"]), step
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("wide", "narrow", "angle"), [(3, 3, 0), (2, 7, 0.7), (9, 0.8, -2)])
def test_blur_kernels_are_basicsr_s(wide, narrow, angle):
    from pipeline.training.degrade import gaussian_kernel

    with foreign():
        from basicsr.data.degradations import bivariate_Gaussian

    theirs = bivariate_Gaussian(41, wide, narrow, angle, isotropic=False)

    assert np.abs(gaussian_kernel(wide, narrow, angle) - theirs).max() < 1e-6


def test_changes_of_tone_are_torchvision_s():
    from pipeline.training.gan import spoil

    with foreign():
        from torchvision.transforms import functional
    image = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    tensor = torch.from_numpy(image.transpose(2, 0, 1))
    pairs = [
        (spoil.brightened, functional.adjust_brightness, 1.3),
        (spoil.contrasted, functional.adjust_contrast, 0.6),
        (spoil.saturated, functional.adjust_saturation, 1.4),
        (spoil.turned, functional.adjust_hue, -0.08),
    ]
    for ours, theirs, amount in pairs:
        wanted = theirs(tensor, amount).numpy().transpose(1, 2, 0)
        assert np.abs(ours(image, amount) - wanted).max() < 1e-3, ours.__name__


def test_the_seed_project_reads_our_landmarks_and_cuts_the_same_boxes(tmp_path, monkeypatch):
    """For one picture: its trainer writes mirrored places back into what it read, and is wrong from the second on."""
    from pipeline.training.gan.components import PARTS, parts_of, read_landmarks
    from pipeline.types import Face

    with foreign():
        from gfpgan.data.ffhq_degradation_dataset import FFHQDegradationDataset
    eyes = np.array([[193, 240], [319, 241], [256, 314], [201, 371], [313, 372]], np.float32)
    face = Face(box=(100, 90, 410, 480), landmarks=eyes, score=0.9)
    torch.save({"00000000": parts_of(face, side=512)}, tmp_path / "ours.pth")
    reader = SimpleNamespace(
        components_list=torch.load(tmp_path / "ours.pth", weights_only=False), out_size=512, eye_enlarge_ratio=1.4
    )

    for mirrored in (False, True):
        theirs = FFHQDegradationDataset.get_component_coordinates(reader, 0, [mirrored])
        marks = read_landmarks(tmp_path / "ours.pth", SimpleNamespace(names=("00000000",)))
        ours = marks.boxes(0, side=512, mirrored=mirrored, enlarge_eyes=1.4)
        assert np.allclose(ours, torch.stack(theirs).numpy(), atol=1e-3)
    assert len(theirs) == len(PARTS)
    assert math.isclose(float(ours[2, 2] - ours[2, 0]), 111, abs_tol=1)
