"""facexlib's ArcFace: a face as 512 numbers, close for pictures of the same person.

Paper: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019 (arXiv 1801.07698).
Network: https://github.com/xinntao/facexlib (MIT), IR-SE50, after https://github.com/TreB1eN/InsightFace_Pytorch (MIT).
"""

from __future__ import annotations

from torch import nn

from pipeline.compat import foreign

#: Sides of the aligned faces that it takes.
FACE_PX = 112

LAYERS = 50

#: Share of features dropped in training; nothing at inference.
DROPPED = 0.6


def build() -> nn.Module:
    """An untrained IR-SE50 in eval mode.

    Convention: forward takes (B, 3, 112, 112) BGR in [-1, 1] (facexlib's own use) and gives (B, 512) of unit length;
    the scalar product of two is their similarity, -1 to 1.
    """
    with foreign():
        from facexlib.recognition.arcface_arch import Backbone  # noqa: PLC0415  (after the shims)

        return Backbone(num_layers=LAYERS, drop_ratio=DROPPED, mode="ir_se").eval()
