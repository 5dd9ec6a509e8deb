"""StyleGAN2's generator: the decoder of a GFPGAN, led by random codes instead of a face. It becomes GFPGAN's prior.

Paper: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020 (arXiv 1912.04958).
State-dict keys are those of the published StyleGAN2 files that GFPGAN's training starts from (without a prefix), which
are the decoder's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.arch import gfpgan_clean, gfpgan_original


class Generator(nn.Module):
    """Faces (B, 3, S, S) RGB in [-1, 1], and the latents (B, L, style) that they were made of.

    Convention: ``codes`` are one or two (B, style) of a standard normal distribution; with two, the first leads the
    levels below ``crossover`` (of L) and the second those from there on. ``noise`` as GFPGAN's.
    """

    def __init__(self, decoder: gfpgan_original.Decoder | gfpgan_clean.Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.levels = len(decoder.to_rgbs)
        self.latents = 2 * self.levels + 2

    def forward(
        self, codes: Sequence[Tensor], noise: Sequence[Tensor] | None = None, crossover: int | None = None
    ) -> tuple[Tensor, Tensor]:
        styles = [self.decoder.style_mlp(code) for code in codes]
        split = self.latents if crossover is None else crossover
        latent = torch.cat(
            [
                styles[0][:, None].expand(-1, split, -1),
                styles[-1][:, None].expand(-1, self.latents - split, -1),
            ],
            dim=1,
        )
        maps = self.decoder.stored_noise() if noise is None else noise
        one = latent.new_ones(1)
        picture = self.decoder(latent, [(one, one * 0)] * self.levels, maps)
        return picture, latent
