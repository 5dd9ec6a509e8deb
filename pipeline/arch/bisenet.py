"""facexlib's BiSeNet: which of 19 parts of a head each pixel of an aligned face shows.

Paper: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, 2018 (arXiv 1808.00897).
Network: https://github.com/xinntao/facexlib (MIT), after https://github.com/zllrunning/face-parsing.PyTorch (MIT).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.compat import foreign

#: For each class in ParseNet's order (CelebAMask-HQ's attributes: background, skin, nose, glasses, eyes, brows,
#: ears, mouth, lips, hair, hat, earrings, necklace, neck, cloth) the place where BiSeNet has it. Source: the
#: attribute list in face-parsing.PyTorch's ``prepropess_data.py``, which is skin, brows, eyes, glasses, ears,
#: earrings, nose, mouth, lips, neck, necklace, cloth, hair, hat.
IN_PARSENETS_ORDER = (0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16)

CLASSES = 19

#: Mean and deviation of ImageNet's RGB in [0, 1], to which the network's backbone was trained.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class FaceParsing(nn.Module):
    """BiSeNet as a stand-in for ParseNet: the same range of values, the same order of classes.

    Convention: forward takes (B, 3, H, W) RGB in [-1, 1], sides multiples of 32, and gives class scores
    (B, 19, H, W) in ParseNet's order, so that ``parsenet.FACE_CLASSES`` names the face in both.
    State-dict keys are BiSeNet's own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # The network's children become this module's own, so that the published file fits without a prefix.
        for name, child in network.named_children():
            self.add_module(name, child)
        self._forward = type(network).forward
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        scores: Tensor = self._forward(self, ((x + 1) / 2 - mean) / deviation)[0]
        return scores[:, list(IN_PARSENETS_ORDER)]


def build() -> FaceParsing:
    """An untrained BiSeNet in eval mode."""
    with foreign():
        from facexlib.parsing.bisenet import BiSeNet  # noqa: PLC0415  (after the shims)

        return FaceParsing(BiSeNet(CLASSES)).eval()
