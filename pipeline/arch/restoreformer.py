"""RestoreFormer: a convolutional encoder and decoder whose attention asks the face for what a codebook offers.

Paper: Wang et al., RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value Pairs, 2022
(arXiv 2201.06374); the codebook after van den Oord et al., Neural Discrete Representation Learning, 2017.
Own code; state-dict keys are those of the published RestoreFormer.pth (https://github.com/wzhouxiff/RestoreFormer,
Apache-2.0), so that it loads strictly. It has no noise: the same input gives the same output, and a seed means nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.arch.enlarging import repeating

#: Groups of the normalisations and heads of the attention, as published; neither shows in the tensors.
GROUPS = 32
HEADS = 8

#: Keeps the normalisations finite.
EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Widths and depths; the defaults are the published file's, for pictures of 512 px."""

    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512)  #: features of each level, from the picture's size down
    first: int = 64  #: features after the first convolution
    blocks: int = 2  #: residual blocks of a level of the encoder; the decoder has one more
    latent: int = 256  #: features between encoder and decoder
    code: int = 256  #: features of a code
    codes: int = 1024  #: how many codes


def _norm(features: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, features, eps=EPSILON)


class ResBlock(nn.Module):
    """Two normalised convolutions and a shortcut, 1x1 where the widths differ."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1 = _norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = _norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.silu(self.norm1(x)))
        out = self.conv2(F.silu(self.norm2(out)))
        return out + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class Attention(nn.Module):
    """Every place looks at every other; the questions come from ``asker`` where there is one."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm1 = _norm(features)
        self.norm2 = _norm(features)
        self.q = nn.Conv2d(features, features, 1)
        self.k = nn.Conv2d(features, features, 1)
        self.v = nn.Conv2d(features, features, 1)
        self.proj_out = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, asker: Tensor | None = None) -> Tensor:
        known = self.norm1(x)
        asking = known if asker is None else self.norm2(asker)
        question, key, value = (_in_heads(t) for t in (self.q(asking), self.k(known), self.v(known)))
        # Plain products: torch's fused attention sums in an order that depends on the machine.
        weight = torch.softmax((question * question.shape[-1] ** -0.5) @ key.transpose(2, 3), dim=3)
        out = (weight @ value).transpose(2, 3).reshape(x.shape)
        return x + self.proj_out(out)


def _in_heads(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, heads, H * W, C / heads)."""
    return x.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3)


class Level(nn.Module):
    """The blocks of one size, attention after each where the level has it, and the change to the next size."""

    def __init__(self, widths: Sequence[int], *, attends: bool, halve: bool = False, double: bool = False) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.block = nn.ModuleList(ResBlock(c_in, c_out) for c_in, c_out in pairs)
        self.attn = nn.ModuleList(Attention(c_out) for _, c_out in pairs if attends)
        self.downsample = Halve(widths[-1]) if halve else None
        self.upsample = Double(widths[-1]) if double else None

    def forward(self, x: Tensor, asker: Tensor | None = None) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x, asker)
        return x


class Halve(nn.Module):
    """A convolution at every other pixel, with the picture's far edges padded."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Double(nn.Module):
    """Each pixel four times, then a convolution."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, repeating(self.conv.weight), self.conv.bias, stride=2, padding=1)


class Middle(nn.Module):
    """Block, attention, block at the smallest size."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(features, features)
        self.attn_1 = Attention(features)
        self.block_2 = ResBlock(features, features)


class Encoder(nn.Module):
    """A picture to features at the smallest size; the last level attends."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, shape.first, 3, padding=1)
        self.down = nn.ModuleList()
        deepest = len(shape.widths) - 1
        for i, (before, width) in enumerate(zip((shape.first, *shape.widths), shape.widths, strict=False)):
            widths = [before] + [width] * shape.blocks
            self.down.append(Level(widths, attends=i == deepest, halve=i < deepest))
        self.mid = Middle(shape.widths[-1])
        self.norm_out = _norm(shape.widths[-1])
        self.conv_out = nn.Conv2d(shape.widths[-1], shape.latent, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The features (B, latent, h, w), and what the decoder's last level and its middle ask with."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if level.downsample is not None:
                x = level.downsample(x)
        asks_level = self.mid.block_1(x)
        asks_middle = self.mid.block_2(self.mid.attn_1(asks_level))
        return self.conv_out(F.silu(self.norm_out(asks_middle))), asks_level, asks_middle


class Decoder(nn.Module):
    """Codes to a picture; where it attends, the degraded face asks and the codes answer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        deepest = len(shape.widths) - 1
        self.conv_in = nn.Conv2d(shape.latent, shape.widths[-1], 3, padding=1)
        self.mid = Middle(shape.widths[-1])
        self.up = nn.ModuleList()
        for i, width in enumerate(shape.widths):
            before = shape.widths[min(i + 1, deepest)]
            widths = [before] + [width] * (shape.blocks + 1)
            self.up.append(Level(widths, attends=i == deepest, double=i > 0))
        self.norm_out = _norm(shape.widths[0])
        self.conv_out = nn.Conv2d(shape.widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor, asks_level: Tensor, asks_middle: Tensor) -> Tensor:
        """The picture (B, 3, H, W) from what ``Encoder.forward`` gives, its features replaced by codes."""
        x = self.mid.block_1(self.conv_in(x))
        x = self.mid.block_2(self.mid.attn_1(x, asks_middle))
        for level in reversed(self.up):
            x = level(x, asks_level if level.attn else None)
            if level.upsample is not None:
                x = level.upsample(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class Codebook(nn.Module):
    """Replaces each place's features by the code nearest to them."""

    def __init__(self, codes: int, features: int) -> None:
        super().__init__()
        entries = torch.rand(codes, features)
        if not entries.is_meta:  # see gfpgan_clean.drawn
            entries = (2 * entries - 1) / codes
        self.embedding = nn.Embedding.from_pretrained(entries, freeze=False)

    def forward(self, x: Tensor) -> Tensor:
        code = self.embedding.weight
        place = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        # |place - code|^2 without building the differences.
        distance = place.square().sum(dim=-1, keepdim=True) + code.square().sum(dim=1) - 2 * place @ code.T
        return self.embedding(distance.argmin(dim=-1)).permute(0, 3, 1, 2)


class RestoreFormer(nn.Module):
    """The whole network.

    Convention: forward takes (B, 3, S, S) RGB in [-1, 1] and gives the same; S a multiple of 2 per level above the
    last, 512 as published. The same input gives the same output.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)
        self.quantize = Codebook(shape.codes, shape.code)
        self.quant_conv = nn.Conv2d(shape.latent, shape.code, 1)
        self.post_quant_conv = nn.Conv2d(shape.code, shape.latent, 1)

    def forward(self, x: Tensor) -> Tensor:
        features, asks_level, asks_middle = self.encoder(x)
        codes = self.quantize(self.quant_conv(features))
        picture: Tensor = self.decoder(self.post_quant_conv(codes), asks_level, asks_middle)
        return picture
