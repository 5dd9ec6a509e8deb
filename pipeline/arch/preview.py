"""The preview restorer: a small residual U-Net with a style vector, this project's own.

It works on a quarter of the crop's resolution (pixel-unshuffle), predicts a correction and adds it to its input; the
last layer starts at zero, so that training starts from the identity. From GFPGAN's design (arXiv 2101.04061) it takes
the latent code: the deepest features are pooled into one vector that scales the decoder's channels, which tells every
level how degraded the whole crop is.

Convention: in and out (B, 3, H, W) float RGB in [0, 1]; H and W are multiples of ``MULTIPLE_PX``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Pixels per side that become channels before the first layer.
SHUFFLE = 4
#: Channels at 1/4, 1/8, 1/16 and 1/32 of the crop's resolution.
WIDTHS = (40, 80, 160, 192)
#: Residual blocks per level; the last is the bottleneck's.
ENCODER_BLOCKS = (1, 2, 1)
BOTTLENECK_BLOCKS = 1
DECODER_BLOCKS = (2, 2, 1)
#: Length of the pooled code that modulates the decoder.
STYLE = 128
#: Sides of the input must be multiples of this.
MULTIPLE_PX = SHUFFLE * 2 ** (len(WIDTHS) - 1)


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity, scaled per channel by the style where there is one."""

    def __init__(self, width: int, style: int = 0):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        # Each block starts as the identity: without normalisation a random residual path diverges early.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        self.scale = nn.Linear(style, width) if style else None
        if self.scale is not None:
            nn.init.zeros_(self.scale.weight)
            nn.init.zeros_(self.scale.bias)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        y = F.leaky_relu(self.first(x), 0.2, inplace=True)
        if self.scale is not None:
            y = y * (2 * torch.sigmoid(self.scale(style)))[:, :, None, None]  # bounded, 1 at the start
        return x + self.second(y)


class PreviewRestorer(nn.Module):
    """A restored aligned face; at most 30 GFLOP for 512 x 512 (tested)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3 * SHUFFLE**2
        self.head = nn.Conv2d(channels, WIDTHS[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(count))
            for width, count in zip(WIDTHS[:-1], ENCODER_BLOCKS, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(WIDTHS))
        self.bottleneck = nn.ModuleList(Block(WIDTHS[-1]) for _ in range(BOTTLENECK_BLOCKS))
        self.style = nn.Sequential(nn.Linear(WIDTHS[-1], STYLE), nn.LeakyReLU(0.2), nn.Linear(STYLE, STYLE))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(WIDTHS))
        self.decoder = nn.ModuleList(
            nn.ModuleList(Block(width, STYLE) for _ in range(count))
            for width, count in zip(WIDTHS[:-1], DECODER_BLOCKS, strict=True)
        )
        self.tail = nn.Conv2d(WIDTHS[0], channels, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        y = self.head(F.pixel_unshuffle(x * 2 - 1, SHUFFLE))
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                y = block(y)
            skips.append(y)
            y = down(y)
        for block in self.bottleneck:
            y = block(y)
        style = self.style(y.mean((2, 3)))
        for skip, up, blocks in reversed(list(zip(skips, self.up, self.decoder, strict=True))):
            y = up(y) + skip
            for block in blocks:
                y = block(y, style)
        out = x + F.pixel_shuffle(self.tail(y), SHUFFLE)
        # Clamping would stop the gradient of every saturated pixel.
        return out if self.training else out.clamp(0, 1)
