"""GFPGAN's "clean" network: a U-Net that steers a StyleGAN2 decoder by spatial feature transforms.

Papers: Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, 2021 (arXiv 2101.04061);
Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020 (arXiv 1912.04958).
Own code; state-dict keys are those of the published GFPGANv1.2 to v1.4 files (https://github.com/TencentARC/GFPGAN,
Apache-2.0), so that they load strictly.

Unlike the original it never draws noise: the noise is the checkpoint's stored buffers or what the caller passes in.
Modulated convolution scales activations instead of weights, which is the same sum (the modulation is constant over
a channel) but keeps one constant kernel for a whole batch. What is enlarged and then convolved is convolved first, see
``enlarging``: of the published order's 396 GFLOP for a face of 512 px, 266 are left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.arch.enlarging import doubled, doubled_and_convolved

#: The published files' size and widths.
SIZE = 512
STYLE_FEATURES = 512
MAPPING_LAYERS = 8

#: Slope of every LeakyReLU.
SLOPE = 0.2

#: StyleGAN2's gain after LeakyReLU; "clean" checkpoints have it folded in before noise and bias.
GAIN = math.sqrt(2)

#: Keeps the demodulation finite where all weights of an output channel vanish.
EPSILON = 1e-8


def channels(level_px: int, *, narrow: float, multiplier: int) -> int:
    """Feature channels at a resolution: 512 up to 32 px, then halved at each doubling."""
    base = 512 if level_px <= 32 else (256 * 64 // level_px) * multiplier
    return int(base * narrow)


def drawn(*shape: int, std: float) -> Tensor:
    """Normal values of this standard deviation; none where networks have none (the device ``meta``).

    torch's arithmetic without values would import its compiler: a second of every start, for nothing.
    """
    values = torch.randn(*shape)
    return values if values.is_meta else values * std


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class ResBlock(nn.Module):
    """Two convolutions around a bilinear change of size, to half or twice the sides, and a 1x1 shortcut."""

    def __init__(self, c_in: int, c_out: int, *, enlarges: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, 3, padding=1)
        self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.enlarges = enlarges

    def forward(self, x: Tensor) -> Tensor:
        between = _leaky(self.conv1(x))
        if self.enlarges:
            out = doubled_and_convolved(between, self.conv2.weight) + self.conv2.bias[:, None, None]
            return _leaky(out) + doubled(self.skip(x))  # a sum over channels may come first
        return _leaky(self.conv2(F.avg_pool2d(between, 2))) + self.skip(F.avg_pool2d(x, 2))


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style, optionally with outputs brought back to unit scale.

    At twice the sides if it ``enlarges``.
    """

    def __init__(
        self, c_in: int, c_out: int, size: int, *, style: int, demodulate: bool, enlarges: bool = False
    ) -> None:
        super().__init__()
        self.modulation = nn.Linear(style, c_in)
        nn.init.ones_(self.modulation.bias)
        self.weight = nn.Parameter(drawn(1, c_out, c_in, size, size, std=1 / math.sqrt(c_in * size**2)))
        self.demodulate, self.enlarges = demodulate, enlarges

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.modulation(style)  # (B, c_in)
        kernel, x = self.weight[0], x * scale[:, :, None, None]
        out = doubled_and_convolved(x, kernel) if self.enlarges else F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        if self.demodulate:
            energy = scale.square() @ kernel.square().sum(dim=(2, 3)).T  # (B, c_out)
            out = out * torch.rsqrt(energy + EPSILON)[:, :, None, None]
        return out


class StyleConv(nn.Module):
    """Modulated convolution, noise, bias, activation."""

    def __init__(self, c_in: int, c_out: int, *, style: int, enlarges: bool) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(c_in, c_out, 3, style=style, demodulate=True, enlarges=enlarges)
        self.weight = nn.Parameter(torch.zeros(1))  # how strong the noise is
        self.bias = nn.Parameter(torch.zeros(1, c_out, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        return _leaky(self.modulated_conv(x, style) * GAIN + self.weight * noise + self.bias)


class ToRGB(nn.Module):
    """Features to a picture, added to the enlarged picture of the level below."""

    def __init__(self, c_in: int, *, style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(c_in, 3, 1, style=style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None) -> Tensor:
        out = self.modulated_conv(x, style) + self.bias
        return out if below is None else out + doubled(below)


class ConstantInput(nn.Module):
    """StyleGAN2's learned 4x4 start."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, features, 4, 4))

    def forward(self, batch: int) -> Tensor:
        return self.weight.expand(batch, -1, -1, -1)


class UnitLength(nn.Module):
    """Style codes brought to unit mean square; the first member of the mapping network."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + EPSILON)


class Decoder(nn.Module):
    """StyleGAN2 whose features are, in one half of their channels, scaled and shifted by the U-Net's conditions."""

    def __init__(self, *, size: int, style: int, narrow: float, multiplier: int) -> None:
        super().__init__()
        levels = [2**i for i in range(3, int(math.log2(size)) + 1)]
        widths = [channels(level, narrow=narrow, multiplier=multiplier) for level in [4, *levels]]
        # GFPGAN feeds latents directly, so the mapping network never runs; the published files carry it.
        mapping: list[nn.Module] = [UnitLength()]
        for _ in range(MAPPING_LAYERS):
            mapping += [nn.Linear(style, style), nn.LeakyReLU(SLOPE)]
        self.style_mlp = nn.Sequential(*mapping)
        self.constant_input = ConstantInput(widths[0])
        self.style_conv1 = StyleConv(widths[0], widths[0], style=style, enlarges=False)
        self.to_rgb1 = ToRGB(widths[0], style=style)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for c_in, c_out in itertools.pairwise(widths):
            self.style_convs.append(StyleConv(c_in, c_out, style=style, enlarges=True))
            self.style_convs.append(StyleConv(c_out, c_out, style=style, enlarges=False))
            self.to_rgbs.append(ToRGB(c_out, style=style))
        self.noises = nn.Module()
        for i, side in enumerate(noise_sides(size)):
            self.noises.register_buffer(f"noise{i}", torch.randn(1, 1, side, side))

    def stored_noise(self) -> list[Tensor]:
        return [getattr(self.noises, f"noise{i}") for i in range(len(self.style_convs) + 1)]

    def forward(self, latent: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor]) -> Tensor:
        """The picture (B, 3, S, S) for latents (B, L, style), one scale and shift per level above 4 px."""
        x = self.style_conv1(self.constant_input(latent.shape[0]), latent[:, 0], noise[0])
        picture = self.to_rgb1(x, latent[:, 1], None)
        for i, (scale, shift) in enumerate(conditions):
            at = 2 * i + 1
            x = self.style_convs[2 * i](x, latent[:, at], noise[at])
            same, steered = x.chunk(2, dim=1)
            x = torch.cat([same, steered * scale + shift], dim=1)
            x = self.style_convs[2 * i + 1](x, latent[:, at + 1], noise[at + 1])
            picture = self.to_rgbs[i](x, latent[:, at + 2], picture)
        return picture


def noise_sides(size: int) -> list[int]:
    """Sides of the decoder's noise maps: one at 4 px, two at each level above."""
    return [4] + [2**i for i in range(3, int(math.log2(size)) + 1) for _ in range(2)]


def seeded_noise(seed: int, size: int = SIZE) -> list[Tensor]:
    """Noise maps (1, 1, s, s) that depend on the seed alone, not on device, batch or what was drawn before."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 1, side, side, generator=generator) for side in noise_sides(size)]


def _condition(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_in, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(c_in, c_out, 3, padding=1))


class GFPGAN(nn.Module):
    """What every GFPGAN does with its layers: a U-Net steers a StyleGAN2 decoder. Subclasses make the layers.

    Source: arXiv 2101.04061; the attributes' names are the published checkpoints'.
    """

    @staticmethod
    def activate(feature: Tensor) -> Tensor:
        """Nothing: the layers end in their own activations."""
        return feature

    def forward(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """The restored faces; ``noise`` as ``seeded_noise`` gives it, None = the checkpoint's own."""
        return self.decode(*self.encode(x), noise=noise)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Latents (B, L, style) and the U-Net's features from 8 px up."""
        feature = self.activate(self.conv_body_first(x))
        skips = []
        for down in self.conv_body_down:
            feature = down(feature)
            skips.append(feature)
        feature = self.activate(self.final_conv(feature))
        latent = self.final_linear(feature.flatten(1)).unflatten(1, (-1, self.style))
        features = []
        for up, skip in zip(self.conv_body_up, reversed(skips), strict=True):
            feature = up(feature + skip)
            features.append(feature)
        return latent, features

    def decode(self, latent: Tensor, features: Sequence[Tensor], *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """The picture from what ``encode`` gives."""
        maps = self.stylegan_decoder.stored_noise() if noise is None else [n.to(latent) for n in noise]
        conditions = [
            (scale(f), shift(f))
            for scale, shift, f in zip(self.condition_scale, self.condition_shift, features, strict=True)
        ]
        return self.stylegan_decoder(latent, conditions, maps)

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The U-Net's own pictures at each level from 8 px up, which training compares with the truth."""
        return [to_rgb(feature) for to_rgb, feature in zip(self.toRGB, features, strict=True)]


class GFPGANv1Clean(GFPGAN):
    """The network of GFPGAN v1.2, v1.3 and v1.4.

    Convention: forward takes (B, 3, S, S) RGB in [-1, 1] and gives the same; the same input gives the same output.
    """

    def __init__(
        self, size: int = SIZE, *, style: int = STYLE_FEATURES, narrow: float = 1.0, multiplier: int = 2
    ) -> None:
        super().__init__()
        depth = int(math.log2(size))
        self.size, self.style = size, style
        # The U-Net is half as wide as the decoder, which is what the half of the channels that it steers needs.
        width = {2**i: channels(2**i, narrow=narrow * 0.5, multiplier=multiplier) for i in range(2, depth + 1)}
        falling, rising = [2**i for i in range(depth, 2, -1)], [2**i for i in range(3, depth + 1)]
        self.conv_body_first = nn.Conv2d(3, width[size], 1)
        self.conv_body_down = nn.ModuleList(ResBlock(width[px], width[px // 2], enlarges=False) for px in falling)
        self.final_conv = nn.Conv2d(width[4], width[4], 3, padding=1)
        self.conv_body_up = nn.ModuleList(ResBlock(width[px // 2], width[px], enlarges=True) for px in rising)
        self.toRGB = nn.ModuleList(nn.Conv2d(width[px], 3, 1) for px in rising)
        self.final_linear = nn.Linear(width[4] * 4 * 4, (2 * depth - 2) * style)
        self.stylegan_decoder = Decoder(size=size, style=style, narrow=narrow, multiplier=multiplier)
        self.condition_scale = nn.ModuleList(_condition(width[px], width[px]) for px in rising)
        self.condition_shift = nn.ModuleList(_condition(width[px], width[px]) for px in rising)

    @staticmethod
    def activate(feature: Tensor) -> Tensor:
        """The leaky ReLU that this form's plain convolutions lack."""
        return _leaky(feature)
