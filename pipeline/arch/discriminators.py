"""What tells real faces from restored ones: StyleGAN2's discriminator, and GFPGAN's for eyes and mouths.

Papers: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020 (arXiv 1912.04958), the residual
discriminator; Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, 2021
(arXiv 2101.04061), section 3.4. Own code; state-dict keys are those of the published GFPGANv1_net_d*.pth
(https://github.com/TencentARC/GFPGAN, Apache-2.0), so that a run goes on from them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.arch.gfpgan_clean import SIZE, channels
from pipeline.arch.gfpgan_original import Activation, DownBlock, EqualConv2d, EqualLinear, Halve, conv_layer

#: Pictures whose features' spread is measured together. Source: StyleGAN2's appendix B, as published.
STDDEV_GROUP = 4

#: Keeps the root's slope finite where all pictures of a group are alike.
EPSILON = 1e-8

#: Channels of a component discriminator's convolutions, fixed as published.
COMPONENT_WIDTHS = (64, 128, 128, 256, 256)


class StyleGAN2Discriminator(nn.Module):
    """How real faces look, (B, 1) from (B, 3, S, S) RGB in [-1, 1]; no bounds, higher is more real.

    ``group``: pictures i, i + B / group, i + 2 B / group, ... share one statistic of their spread; groups that do not
    divide the batch become the largest that do.
    """

    def __init__(
        self, size: int = SIZE, *, narrow: float = 1.0, multiplier: int = 1, group: int = STDDEV_GROUP
    ) -> None:
        super().__init__()
        falling = [2**i for i in range(int(math.log2(size)), 2, -1)]
        width = {px: channels(px, narrow=narrow, multiplier=multiplier) for px in [*falling, 4]}
        blocks = [DownBlock(width[px], width[px // 2], resampling="fir") for px in falling]
        self.conv_body = nn.Sequential(conv_layer(3, width[size], 1), *blocks)
        self.final_conv = conv_layer(width[4] + 1, width[4], 3)
        self.final_linear = nn.Sequential(
            EqualLinear(width[4] * 4 * 4, width[4], activate=True), EqualLinear(width[4], 1)
        )
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        feature = self.conv_body(x)
        feature = self.final_conv(torch.cat([feature, self._spread(feature)], dim=1))
        score: Tensor = self.final_linear(feature.flatten(1))
        return score

    def _spread(self, feature: Tensor) -> Tensor:
        """The mean standard deviation of the features within each group, as one more map: (B, 1, 4, 4)."""
        batch, _, height, width = feature.shape
        group = max(size for size in range(1, min(batch, self.group) + 1) if batch % size == 0)
        # In float32: half precision's squares of features overflow.
        grouped = feature.float().unflatten(0, (group, batch // group))
        deviation = (grouped.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3))
        return deviation.repeat(group)[:, None, None, None].expand(batch, 1, height, width).to(feature.dtype)


class ComponentDiscriminator(nn.Module):
    """How real eyes or mouths look, place by place: (B, 1, s / 4, s / 4) from (B, 3, s, s) RGB in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        w1, w2, w3, w4, w5 = COMPONENT_WIDTHS
        self.conv1 = conv_layer(3, w1, 3)
        self.conv2 = _halving(w1, w2)
        self.conv3 = conv_layer(w2, w3, 3)
        self.conv4 = _halving(w3, w4)
        self.conv5 = conv_layer(w4, w5, 3)
        self.final_conv = nn.Sequential(EqualConv2d(w5, 1, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The scores, and the features at half and at a quarter of the size, which the style loss compares."""
        half = self.conv3(self.conv2(self.conv1(x)))
        quarter = self.conv5(self.conv4(half))
        return self.final_conv(quarter), [half, quarter]


def _halving(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(
        Halve(3, resampling="fir"), EqualConv2d(c_in, c_out, 3, bias=None, stride=2), Activation(c_out)
    )
