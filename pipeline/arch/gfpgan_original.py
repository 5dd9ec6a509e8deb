"""GFPGAN's network with StyleGAN2's equalised layers: the paper's own (v1), and its bilinear variant.

Papers: Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, 2021 (arXiv 2101.04061);
Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020 (arXiv 1912.04958), appendix B.
Own code in plain torch; state-dict keys are those of the published GFPGANv1.pth
(https://github.com/TencentARC/GFPGAN, Apache-2.0), so that it loads strictly.

Both variants have the same tensors and differ in how they change size. "fir", the paper's, filters with the binomial
1-3-3-1 around strided convolutions, for which the original needs CUDA operators; "bilinear" interpolates. Weights
that were trained with the one give a wrong picture with the other, and nothing in a file tells which it was.

Equalised: parameters are stored at unit variance and scaled by the layer's fan-in whenever they are used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.arch.enlarging import doubled, doubled_and_convolved
from pipeline.arch.gfpgan_clean import (
    EPSILON,
    GAIN,
    GFPGAN,
    MAPPING_LAYERS,
    SIZE,
    SLOPE,
    STYLE_FEATURES,
    ConstantInput,
    UnitLength,
    channels,
    drawn,
    noise_sides,
)

Resampling = Literal["fir", "bilinear"]

#: The binomial filter that approximates an ideal low-pass at half the rate.
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)

#: How much slower the mapping network learned, which its stored parameters carry.
MAPPING_RATE = 0.01


class Fir(nn.Module):
    """The 1-3-3-1 filter over both axes, each channel on its own; what lies outside the picture is zero."""

    def __init__(self) -> None:
        super().__init__()
        gain = sum(FIR_TAPS) ** 2
        # Not persistent: the published files do not carry it.
        self.register_buffer(
            "kernel",
            torch.tensor([[down * across / gain for across in FIR_TAPS] for down in FIR_TAPS]),
            persistent=False,
        )

    def _kernel(self, x: Tensor) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        return kernel.to(x)[None, None].expand(x.shape[1], 1, -1, -1)

    def smooth(self, x: Tensor, *, padding: int, gain: float = 1) -> Tensor:
        """(B, C, H, W) to (B, C, H + 2 * padding - 3, W + 2 * padding - 3)."""
        return F.conv2d(x, self._kernel(x) * gain, padding=padding, groups=x.shape[1])

    def double(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W): zeros between the samples, filtered, brightness kept by the gain of 4."""
        return F.conv_transpose2d(x, self._kernel(x) * 4, stride=2, padding=1, groups=x.shape[1])


class EqualLinear(nn.Module):
    """A linear layer with equalised weights, optionally followed by the activation with its gain."""

    def __init__(self, c_in: int, c_out: int, *, bias: float = 0, rate: float = 1, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(c_out, c_in, std=1 / rate))
        self.bias = nn.Parameter(torch.full((c_out,), float(bias)))
        self.scale, self.rate, self.activate = rate / math.sqrt(c_in), rate, activate

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return F.leaky_relu(out, SLOPE) * GAIN if self.activate else out


class EqualConv2d(nn.Module):
    """A convolution with equalised weights."""

    def __init__(self, c_in: int, c_out: int, size: int, *, bias: float | None = 0, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, size, size))
        self.bias = None if bias is None else nn.Parameter(torch.full((c_out,), float(bias)))
        self.scale, self.stride = 1 / math.sqrt(c_in * size**2), stride
        # A strided convolution comes after a filter that has already widened the picture.
        self.padding = size // 2 if stride == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, stride=self.stride, padding=self.padding)


class Activation(nn.Module):
    """Bias per channel, LeakyReLU, gain: what the original's fused CUDA operator computes."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], SLOPE) * GAIN


class BareActivation(nn.Module):
    """LeakyReLU and gain without a bias of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, SLOPE) * GAIN


class Halve(nn.Module):
    """What comes before a convolution that halves the sides: a filter (its stride halves), or interpolation."""

    def __init__(self, conv_size: int, *, resampling: Resampling) -> None:
        super().__init__()
        self.fir = Fir() if resampling == "fir" else None
        self.padding = conv_size // 2 + 1

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.fir is None else self.fir.smooth(x, padding=self.padding)


def conv_layer(c_in: int, c_out: int, size: int) -> nn.Sequential:
    return nn.Sequential(EqualConv2d(c_in, c_out, size, bias=None), Activation(c_out))


class DownBlock(nn.Module):
    """Two convolutions, the second of which halves the sides, and a 1x1 shortcut."""

    def __init__(self, c_in: int, c_out: int, *, resampling: Resampling) -> None:
        super().__init__()
        stride = 2 if resampling == "fir" else 1
        self.conv1 = conv_layer(c_in, c_in, 3)
        self.conv2 = nn.Sequential(
            Halve(3, resampling=resampling), EqualConv2d(c_in, c_out, 3, bias=None, stride=stride), Activation(c_out)
        )
        self.skip = nn.Sequential(
            Halve(1, resampling=resampling), EqualConv2d(c_in, c_out, 1, bias=None, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return out / math.sqrt(2)


class UpConv(EqualConv2d):
    """A convolution of the picture at twice its sides, with an activation if ``activate``."""

    def __init__(self, c_in: int, c_out: int, size: int, *, activate: bool) -> None:
        super().__init__(c_in, c_out, size, bias=None)
        self.activation = Activation(c_out) if activate else None

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight * self.scale
        # One of a single pixel sums over channels only, which may come first.
        enlarges_last = kernel.shape[-1] == 1
        out = doubled(F.conv2d(x, kernel)) if enlarges_last else doubled_and_convolved(x, kernel)
        return out if self.activation is None else self.activation(out)


class UpBlock(nn.Module):
    """Two convolutions, the second of which doubles the sides (bilinearly in both variants), and a 1x1 shortcut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = conv_layer(c_in, c_in, 3)
        self.conv2 = UpConv(c_in, c_out, 3, activate=True)
        self.skip = UpConv(c_in, c_out, 1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return out / math.sqrt(2)


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style, optionally with outputs brought back to unit scale.

    Activations are scaled instead of weights, as in ``gfpgan_clean``: the same sum, one kernel for a whole batch.
    ``up`` is how the sides are doubled, None = they are not.
    """

    def __init__(
        self, c_in: int, c_out: int, size: int, *, style: int, demodulate: bool, up: Fir | Literal["bilinear"] | None
    ) -> None:
        super().__init__()
        self.modulation = EqualLinear(style, c_in, bias=1)
        self.weight = nn.Parameter(torch.randn(1, c_out, c_in, size, size))
        self.scale, self.demodulate, self.up = 1 / math.sqrt(c_in * size**2), demodulate, up

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.modulation(style)  # (B, c_in)
        kernel = self.weight[0] * self.scale
        x = x * scale[:, :, None, None]
        if self.up is None:
            out = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        elif self.up == "bilinear":
            out = doubled_and_convolved(x, kernel)
        else:
            # Sides 2H + 1, which the filter brings to 2H.
            out = self.up.smooth(F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2), padding=1, gain=4)
        if self.demodulate:
            energy = scale.square() @ kernel.square().sum(dim=(2, 3)).T  # (B, c_out)
            out = out * torch.rsqrt(energy + EPSILON)[:, :, None, None]
        return out


class StyleConv(nn.Module):
    """Modulated convolution, noise, bias, activation; at twice the sides if ``upsample``."""

    def __init__(self, c_in: int, c_out: int, *, style: int, resampling: Resampling, upsample: bool) -> None:
        super().__init__()
        up = (Fir() if resampling == "fir" else resampling) if upsample else None
        self.modulated_conv = ModulatedConv2d(c_in, c_out, 3, style=style, demodulate=True, up=up)
        self.weight = nn.Parameter(torch.zeros(1))  # how strong the noise is
        self.activate = Activation(c_out)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = self.activate(self.modulated_conv(x, style) + self.weight * noise)
        return out


class ToRGB(nn.Module):
    """Features to a picture, added to the enlarged picture of the level below."""

    def __init__(self, c_in: int, *, style: int, resampling: Resampling) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(c_in, 3, 1, style=style, demodulate=False, up=None)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.fir = Fir() if resampling == "fir" else None

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None) -> Tensor:
        out: Tensor = self.modulated_conv(x, style) + self.bias
        if below is None:
            return out
        return out + (doubled(below) if self.fir is None else self.fir.double(below))


class Decoder(nn.Module):
    """StyleGAN2 whose features are, in one half of their channels, scaled and shifted by the U-Net's conditions."""

    def __init__(self, *, size: int, style: int, narrow: float, multiplier: int, resampling: Resampling) -> None:
        super().__init__()
        levels = [2**i for i in range(3, int(math.log2(size)) + 1)]
        widths = [channels(level, narrow=narrow, multiplier=multiplier) for level in [4, *levels]]
        # GFPGAN feeds latents directly, so the mapping network never runs; the published files carry it.
        mapping = [EqualLinear(style, style, rate=MAPPING_RATE, activate=True) for _ in range(MAPPING_LAYERS)]
        self.style_mlp = nn.Sequential(UnitLength(), *mapping)
        self.constant_input = ConstantInput(widths[0])
        self.style_conv1 = StyleConv(widths[0], widths[0], style=style, resampling=resampling, upsample=False)
        self.to_rgb1 = ToRGB(widths[0], style=style, resampling=resampling)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for c_in, c_out in itertools.pairwise(widths):
            self.style_convs.append(StyleConv(c_in, c_out, style=style, resampling=resampling, upsample=True))
            self.style_convs.append(StyleConv(c_out, c_out, style=style, resampling=resampling, upsample=False))
            self.to_rgbs.append(ToRGB(c_out, style=style, resampling=resampling))
        self.noises = nn.Module()
        for i, side in enumerate(noise_sides(size)):
            self.noises.register_buffer(f"noise{i}", torch.randn(1, 1, side, side))

    def stored_noise(self) -> list[Tensor]:
        return [getattr(self.noises, f"noise{i}") for i in range(len(self.style_convs) + 1)]

    def forward(self, latent: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor]) -> Tensor:
        """The picture (B, 3, S, S) for latents (B, L, style), one scale and shift per level above 4 px."""
        x = self.style_conv1(self.constant_input(latent.shape[0]), latent[:, 0], noise[0])
        picture: Tensor = self.to_rgb1(x, latent[:, 1], None)
        for i, (scale, shift) in enumerate(conditions):
            at = 2 * i + 1
            x = self.style_convs[2 * i](x, latent[:, at], noise[at])
            same, steered = x.chunk(2, dim=1)
            x = torch.cat([same, steered * scale + shift], dim=1)
            x = self.style_convs[2 * i + 1](x, latent[:, at + 1], noise[at + 1])
            picture = self.to_rgbs[i](x, latent[:, at + 2], picture)
        return picture


def _condition(width: int, *, start: float) -> nn.Sequential:
    return nn.Sequential(EqualConv2d(width, width, 3), BareActivation(), EqualConv2d(width, width, 3, bias=start))


class GFPGANv1(GFPGAN):
    """The network of GFPGAN v1 ("fir"), or its bilinear variant.

    Convention: forward takes (B, 3, S, S) RGB in [-1, 1] and gives the same; the same input gives the same output.
    The published file has ``multiplier`` 1.
    """

    def __init__(
        self,
        size: int = SIZE,
        *,
        style: int = STYLE_FEATURES,
        narrow: float = 1.0,
        multiplier: int = 1,
        resampling: Resampling = "fir",
    ) -> None:
        super().__init__()
        depth = int(math.log2(size))
        self.size, self.style = size, style
        # The U-Net is half as wide as the decoder, which is what the half of the channels that it steers needs.
        width = {2**i: channels(2**i, narrow=narrow * 0.5, multiplier=multiplier) for i in range(2, depth + 1)}
        falling, rising = [2**i for i in range(depth, 2, -1)], [2**i for i in range(3, depth + 1)]
        self.conv_body_first = conv_layer(3, width[size], 1)
        self.conv_body_down = nn.ModuleList(
            DownBlock(width[px], width[px // 2], resampling=resampling) for px in falling
        )
        self.final_conv = conv_layer(width[4], width[4], 3)
        self.conv_body_up = nn.ModuleList(UpBlock(width[px // 2], width[px]) for px in rising)
        self.toRGB = nn.ModuleList(EqualConv2d(width[px], 3, 1) for px in rising)
        self.final_linear = EqualLinear(width[4] * 4 * 4, (2 * depth - 2) * style)
        self.stylegan_decoder = Decoder(
            size=size, style=style, narrow=narrow, multiplier=multiplier, resampling=resampling
        )
        self.condition_scale = nn.ModuleList(_condition(width[px], start=1) for px in rising)
        self.condition_shift = nn.ModuleList(_condition(width[px], start=0) for px in rising)
