"""PSNR, SSIM and the distance of VGG features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.training.losses import VggDistance, psnr, ssim


def test_psnr_of_a_known_error():
    a = torch.zeros(2, 3, 16, 16)

    assert psnr(a, a + 0.1).tolist() == pytest.approx([20, 20])


def test_ssim_is_one_for_equal_pictures_and_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    a = torch.rand(1, 1, 40, 50).repeat(1, 3, 1, 1)
    b = (a + 0.2 * torch.rand(1, 1, 40, 50)).clamp(0, 1)
    theirs, full = structural_similarity(
        a[0, 0].double().numpy(), b[0, 0].double().numpy(), data_range=1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True, win_size=11,
    )  # fmt: skip

    assert float(ssim(a, a)) == pytest.approx(1)
    # scikit-image averages over the pixels whose window is inside, as we do.
    assert float(ssim(a, b)) == pytest.approx(theirs, abs=2e-4)
    assert full[5:-5, 5:-5].mean() == pytest.approx(theirs)


def test_vgg_features_are_those_of_the_published_stack_of_layers(vgg_tensors):
    pad, relu, pool = nn.ReflectionPad2d(1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)
    published = nn.Sequential(
        nn.Conv2d(3, 3, 1), pad, nn.Conv2d(3, 64, 3), relu, pad, nn.Conv2d(64, 64, 3), relu, pool, pad,
        nn.Conv2d(64, 128, 3), relu, pad, nn.Conv2d(128, 128, 3), relu, pool, pad, nn.Conv2d(128, 256, 3), relu,
    )  # fmt: skip
    published.load_state_dict(vgg_tensors)
    picture = torch.rand(1, 3, 33, 40)

    features = VggDistance(vgg_tensors).features(picture)

    assert [f.shape[1] for f in features] == [64, 128, 256]
    assert torch.allclose(features[-1], published(picture), atol=1e-4)


def test_vgg_distance_is_zero_for_equal_pictures_and_grows_with_the_difference(vgg_tensors):
    vgg = VggDistance(vgg_tensors)
    a = torch.rand(1, 3, 32, 32)
    noise = torch.randn_like(a)

    near, far = float(vgg(a, a + 0.02 * noise)), float(vgg(a, a + 0.2 * noise))

    assert float(vgg(a, a)) == 0
    assert 0 < near < far
