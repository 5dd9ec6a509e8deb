"""facexlib's ParseNet: which of 19 parts of a head each pixel of an aligned face shows.

Network: https://github.com/xinntao/facexlib (MIT), after https://github.com/chaofengc/PSFRGAN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.arch.enlarging import repeating
from pipeline.compat import foreign

#: Classes whose pixels belong to the restored face: skin, nose, glasses, eyes, brows, ears, mouth, lips, hair, rings.
#: Left out: 0 background, 14 hat, 16 necklace, 17 neck, 18 cloth (CelebAMask-HQ's order of attributes).
#: Source: MASK_COLORMAP in facexlib's face_restoration_helper.py.
FACE_CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)

CLASSES = 19
OTHER_CLASSES = tuple(one for one in range(CLASSES) if one not in FACE_CLASSES)

#: Side (px) at which aligned faces of 512 px are parsed. The mask is blurred by a sigma of 16 px of the crop, so that
#: it needs no finer classes, and a quarter of the pixels costs a quarter: at 512 px ParseNet takes longer than GFPGAN.
INPUT_PX = 256

#: Slope of every LeakyReLU.
SLOPE = 0.2


def build(*, size: int = 512, base_channels: int = 64) -> nn.Module:
    """An untrained ParseNet in eval mode, with the published file's keys; ``lean`` makes of it what runs.

    Convention: forward takes (B, 3, H, W) RGB in [-1, 1] and gives class scores (B, 19, H, W) and a picture; the sides
    are multiples of 16.
    """
    with foreign():
        from facexlib.parsing.parsenet import ParseNet  # noqa: PLC0415  (after the shims)

        return ParseNet(in_size=size, out_size=size, parsing_ch=CLASSES, base_ch=base_channels).eval()


def lean(network: nn.Module) -> nn.Module:
    """The same class scores (B, 19, H, W) as the network's, and nothing else, by fewer operations.

    Batch normalisation is folded into the convolutions; those behind an enlargement read the small picture, which
    takes 16 products where the published order takes 36; the picture that nobody asks for is left out.
    """
    return Lean(network).eval().requires_grad_(requires_grad=False)


class Lean(nn.Module):
    """ParseNet's layers with constant weights, see ``lean``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*map(_layer, network.encoder))
        self.body = nn.Sequential(*map(_layer, network.body))
        self.decoder = nn.Sequential(*map(_layer, network.decoder))
        self.scores = _layer(network.out_mask_conv)

    def forward(self, x: Tensor) -> Tensor:
        feature = self.encoder(x)
        return self.scores(self.decoder(feature + self.body(feature)))


class Convolution(nn.Module):
    """A convolution with mirrored borders, at a stride, then LeakyReLU where there is one."""

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int, activated: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride, self.activated = stride, activated
        self.padding = weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.padding,) * 4, mode="reflect")
        return _maybe(F.conv2d(padded, self.weight, self.bias, stride=self.stride), activated=self.activated)


class EnlargingConvolution(nn.Module):
    """A 3x3 convolution of the picture enlarged by 2 (nearest, mirrored borders), as one transposed 4x4 convolution.

    A mirrored border of the enlarged picture is a repeated one of the small picture.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, activated: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(repeating(weight)), nn.Parameter(bias)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        out = F.conv_transpose2d(padded, self.weight, self.bias, stride=2, padding=3)
        return _maybe(out, activated=self.activated)


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, shortcut: nn.Module, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.first, self.second = shortcut, first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


def _maybe(x: Tensor, *, activated: bool) -> Tensor:
    return F.leaky_relu(x, SLOPE) if activated else x


def _layer(layer: nn.Module) -> nn.Module:
    """facexlib's ResidualBlock or ConvLayer in lean form."""
    if hasattr(layer, "conv1"):
        has_layer = isinstance(layer.shortcut_func, nn.Module)
        shortcut = _layer(layer.shortcut_func) if has_layer else nn.Identity()
        return Residual(shortcut, _layer(layer.conv1), _layer(layer.conv2))
    convolution, norm = layer.conv2d, layer.norm.norm
    if isinstance(norm, nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, norm)
    weight, bias = convolution.weight.detach(), convolution.bias.detach()
    activated = isinstance(layer.relu.func, nn.LeakyReLU)
    # The only way to see an enlargement: facexlib keeps it in a function without a name.
    if layer.scale_func(torch.zeros(1, 1, 1, 1)).shape[-1] == 2:
        return EnlargingConvolution(weight, bias, activated=activated)
    return Convolution(weight, bias, stride=convolution.stride[0], activated=activated)
