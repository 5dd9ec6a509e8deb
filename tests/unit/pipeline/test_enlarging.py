"""Convolutions at the small picture's size against the published order: enlarge, then convolve."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arch.enlarging import doubled, doubled_and_convolved, repeating

SIZES = [(1, 1), (1, 5), (2, 2), (4, 4), (7, 3), (16, 24)]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
def test_a_bilinearly_doubled_picture_is_convolved_as_if_it_were_there(size):
    picture, kernel = drawn(2, 5, *size), drawn(3, 5, 3, 3)
    before = picture.clone()
    expected = F.conv2d(doubled(picture), kernel, padding=1)
    assert torch.allclose(doubled_and_convolved(picture, kernel), expected, rtol=0, atol=1e-12)
    assert torch.equal(picture, before)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_repeated_pixels_is_convolved_as_if_it_were_there(size):
    picture, kernel = drawn(2, 5, *size), drawn(3, 5, 3, 3)
    expected = F.conv2d(F.interpolate(picture, scale_factor=2.0, mode="nearest"), kernel, padding=1)
    made = F.conv_transpose2d(picture, repeating(kernel), stride=2, padding=1)
    assert torch.allclose(made, expected, rtol=0, atol=1e-12)


def test_what_learns_by_it_gets_the_same_gradients():
    kernel, picture = drawn(3, 5, 3, 3).requires_grad_(), drawn(1, 5, 6, 4).requires_grad_()
    outcomes = F.conv2d(doubled(picture), kernel, padding=1), doubled_and_convolved(picture, kernel)
    direct, ours = (torch.autograd.grad(out.square().sum(), (picture, kernel)) for out in outcomes)
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-9) for one, other in zip(direct, ours, strict=True))


def test_it_takes_a_quarter_of_the_operations():
    def operations(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    picture, kernel = drawn(1, 64, 32, 32), drawn(64, 64, 3, 3)
    direct = operations(lambda: F.conv2d(doubled(picture), kernel, padding=1))
    assert operations(lambda: doubled_and_convolved(picture, kernel)) < 0.4 * direct  # borders and filter besides
