"""facexlib's ParseNet: which of 19 parts of a head each pixel of an aligned face shows.

Network: https://github.com/xinntao/facexlib (MIT), after https://github.com/chaofengc/PSFRGAN.
"""

from __future__ import annotations

from torch import nn

from pipeline.compat import foreign

#: Classes whose pixels belong to the restored face: skin, nose, glasses, eyes, brows, ears, mouth, lips, hair, rings.
#: Left out: 0 background, 14 hat, 16 necklace, 17 neck, 18 cloth (CelebAMask-HQ's order of attributes).
#: Source: MASK_COLORMAP in facexlib's face_restoration_helper.py.
FACE_CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)

CLASSES = 19


def build(*, size: int = 512, base_channels: int = 64) -> nn.Module:
    """An untrained ParseNet in eval mode.

    Convention: forward takes (B, 3, 512, 512) RGB in [-1, 1] and gives class scores (B, 19, 512, 512) and a picture.
    """
    with foreign():
        from facexlib.parsing.parsenet import ParseNet  # noqa: PLC0415  (after the shims)

        return ParseNet(in_size=size, out_size=size, parsing_ch=CLASSES, base_ch=base_channels).eval()
