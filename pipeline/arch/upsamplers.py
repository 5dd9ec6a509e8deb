"""The Real-ESRGAN upsamplers: basicsr's RRDBNet and realesrgan's SRVGGNetCompact.

Paper: Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, 2021
(arXiv 2107.10833). Networks: https://github.com/XPixelGroup/BasicSR (Apache-2.0),
https://github.com/xinntao/Real-ESRGAN (BSD-3-Clause).
Both take and give RGB in [0, 1], (B, 3, H, W) to (B, 3, H * scale, W * scale).
"""

from __future__ import annotations

from torch import nn

from pipeline.compat import foreign


def build_rrdb(*, scale: int, features: int = 64, blocks: int = 23, growth: int = 32) -> nn.Module:
    """An untrained RRDBNet in eval mode; ``scale`` 2 or 4. At scale 2 it needs even heights and widths."""
    with foreign():
        from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: PLC0415  (after the shims)

        return RRDBNet(3, 3, scale=scale, num_feat=features, num_block=blocks, num_grow_ch=growth).eval()


def build_srvgg(*, scale: int = 4, features: int = 64, convolutions: int = 32) -> nn.Module:
    """An untrained SRVGGNetCompact in eval mode."""
    with foreign():
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact  # noqa: PLC0415  (after the shims)

        return SRVGGNetCompact(3, 3, features, convolutions, upscale=scale, act_type="prelu").eval()


def rrdb_receptive_radius(*, scale: int, blocks: int) -> int:
    """How far (input px) an output pixel of RRDBNet sees.

    Every 3x3 convolution of the trunk widens the view by one trunk pixel: 15 a block (three dense blocks of five),
    one before and one after the trunk. Above it two enlargements by 2 with a convolution each, then two more:
    (1/2 + 1/4 + 1/4 + 1/4) < 2 trunk pixels. At scale 2 a trunk pixel is two input pixels wide.
    """
    trunk = 15 * blocks + 2 + 2
    return trunk * (2 if scale == 2 else 1)


def srvgg_receptive_radius(*, convolutions: int) -> int:
    """How far (input px) an output pixel of SRVGGNetCompact sees: one per 3x3 convolution, first and last included."""
    return convolutions + 2
