"""Losses and distances on pictures: SSIM, PSNR and the distance of VGG features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Window of SSIM. Source: Wang et al. 2004, 11 x 11 Gaussian of sigma 1.5.
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
#: Stabilisers of SSIM for values in [0, 1]; same source.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
#: Luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)
#: Layers of the VGG stack (index in the checkpoint's names) after whose ReLU features are compared.
VGG_TAPS = (2, 9, 16)


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its weights in the order that CPU convolutions prefer."""
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Decibels of each picture, (N,), over all channels of (N, 3, H, W) in [0, 1]."""
    return -10 * torch.log10(((a - b) ** 2).mean((1, 2, 3)).clamp_min(1e-12))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of the luma of each picture, (N,), from (N, 3, H, W) in [0, 1]."""
    weights = a.new_tensor(LUMA)[None, :, None, None]
    x, y = (a * weights).sum(1, keepdim=True), (b * weights).sum(1, keepdim=True)
    place = torch.arange(SSIM_WINDOW, dtype=a.dtype) - SSIM_WINDOW // 2
    line = torch.exp(-0.5 * (place / SSIM_SIGMA) ** 2)
    line = line / line.sum()

    def mean(v: Tensor) -> Tensor:
        return functional.conv2d(functional.conv2d(v, line[None, None, :, None]), line[None, None, None, :])

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    value = (2 * mx * my + SSIM_C1) * (2 * cov + SSIM_C2) / ((mx**2 + my**2 + SSIM_C1) * (vx + vy + SSIM_C2))
    return value.mean((1, 2, 3))


class VggDistance(nn.Module):
    """Mean absolute difference of VGG-19 features (conv1_1, conv2_1, conv3_1, each after its ReLU).

    Source: the normalised VGG of Huang & Belongie (arXiv 1703.06868), whose first 1x1 layer does the preprocessing;
    its activations have a mean of about one, so that the layers can be added without weights.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in sorted({int(name.split(".")[0]) for name in tensors}):
            weight, bias = tensors[f"{index}.weight"], tensors[f"{index}.bias"]
            while len(layers) < index:
                layers.append(_between(len(layers)))
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
            conv.load_state_dict({"weight": weight, "bias": bias})
            layers.append(conv)
        self.layers = nn.ModuleList(layers)
        self.requires_grad_(False)
        channels_last(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """The compared activations of (N, 3, H, W) RGB in [0, 1]."""
        found = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in VGG_TAPS:
                x = functional.relu(x)
                found.append(x)
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each picture, (N,)."""
        return features_apart(self.features(a), self.features(b))


def features_apart(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Distance of each picture, (N,), from the features of both."""
    return torch.stack([(f - g).abs().mean((1, 2, 3)) for f, g in zip(a, b, strict=True)]).sum(0)


def _between(index: int) -> nn.Module:
    """The layer without weights at ``index`` of the published stack: padding, ReLU or pooling."""
    if index in (7, 14):
        return nn.MaxPool2d(2, 2, ceil_mode=True)
    if index in (1, 4, 8, 11, 15):
        return nn.ReflectionPad2d(1)
    return nn.ReLU()
