"""facexlib's RetinaFace as a function from pixels to boxes: the network is theirs, anchors and decoding are ours.

Paper: Deng et al., RetinaFace: Single-stage Dense Face Localisation in the Wild, 2019 (arXiv 1905.00641).
Network: https://github.com/xinntao/facexlib (MIT), after https://github.com/biubug6/Pytorch_Retinaface (MIT).

facexlib's own ``detect_faces`` is not used: it builds anchors in a Python loop (1.25 s for 24 megapixels),
needs torchvision's compiled NMS and keeps its working state on the network.

Anchors (16 to 512 px) and LeakyReLU slope (0.1 in ``mobile0.25``) are facexlib's own; checked against its
published ``detection_mobilenet0.25_Final.pth``, which finds a third of the small faces and wrong box sizes with
the anchors 10 to 256 or the slope 0 that other copies of this network were trained with.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.compat import foreign

Backbone = Literal["resnet50", "mobile0.25"]

#: Anchor sides (network px) for each feature map, and the maps' strides.
ANCHOR_SIDES_PX = ((16, 32), (64, 128), (256, 512))
STRIDES_PX = (8, 16, 32)

#: How the regressions are scaled: centres by the anchor's side times the first, log sizes by the second.
VARIANCES = (0.1, 0.2)

#: Subtracted from BGR pixels in 0 to 255; the ImageNet means of the Caffe networks that RetinaFace starts from.
MEAN_BGR = (104.0, 117.0, 123.0)


def build(backbone: Backbone) -> nn.Module:
    """An untrained RetinaFace in eval mode on the CPU, with the published file's keys; ``lean`` makes of it what runs.

    Convention: forward takes (B, 3, H, W) BGR in 0 to 255 minus ``MEAN_BGR`` and gives a tuple of boxes (B, N, 4),
    class probabilities (B, N, 2; with ``network.phase = "train"`` raw scores) and landmarks (B, N, 10), all relative
    to the anchors of ``anchors(H, W)``; state-dict keys are the published files' without their ``module.``.
    """
    with foreign():
        from facexlib.detection.retinaface import RetinaFace  # noqa: PLC0415  (after the shims)

        return RetinaFace(network_name=backbone, half=False, device=torch.device("cpu"))


#: Where in the values of a lean network an anchor's box, its score (before the sigmoid) and its landmarks are.
BOX, SCORE, POINTS = slice(0, 4), 4, slice(5, 15)


def lean(network: nn.Module) -> nn.Module:
    """The same as the network's answers in one tensor, by fewer operations; the network is used up.

    Convention: forward takes what ``build`` says and gives (B, N, 15): for each of the anchors a box and landmarks as
    ``decode_boxes`` and ``decode_landmarks`` take them, and between them the face's score less the background's, of
    which the sigmoid is the face's probability.

    Batch normalisation is folded into the convolutions, and the three heads of a feature map are one convolution.
    """
    return Lean(network).eval().requires_grad_(requires_grad=False)


class Lean(nn.Module):
    """RetinaFace with constant weights, see ``lean``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.body, self.fpn = network.body, network.fpn
        self.contexts = nn.ModuleList([network.ssh1, network.ssh2, network.ssh3])
        heads = zip(network.BboxHead, network.ClassHead, network.LandmarkHead, strict=True)  # type: ignore[arg-type]
        self.heads = nn.ModuleList([_head(box.conv1x1, score.conv1x1, points.conv1x1) for box, score, points in heads])
        _fold_norms(self)

    def forward(self, pictures: Tensor) -> Tensor:
        levels = self.fpn([*self.body(pictures).values()])
        found = [head(context(level)) for head, context, level in zip(self.heads, self.contexts, levels, strict=True)]
        # Anchor by anchor: (B, anchors * 15, H, W) to (B, H * W * anchors, 15).
        return torch.cat([one.permute(0, 2, 3, 1).reshape(one.shape[0], -1, POINTS.stop) for one in found], dim=1)


def _head(box: nn.Conv2d, score: nn.Conv2d, points: nn.Conv2d) -> nn.Conv2d:
    """One convolution for the three of a feature map."""
    head = nn.Conv2d(box.in_channels, len(ANCHOR_SIDES_PX[0]) * POINTS.stop, 1)
    for name in ("weight", "bias"):
        # By anchor: 4, 2 and 10 channels each.
        boxes, classes, landmarks = (
            getattr(one, name).detach().unflatten(0, (len(ANCHOR_SIDES_PX[0]), -1)) for one in (box, score, points)
        )
        joined = torch.cat([boxes, classes[:, 1:] - classes[:, :1], landmarks], dim=1).flatten(0, 1)
        setattr(head, name, nn.Parameter(joined))
    return head


def _fold_norms(network: nn.Module) -> None:
    for parent in network.modules():
        for (name, layer), (norm_name, norm) in pairwise([*parent.named_children()]):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, norm_name, nn.Identity())


def anchors(height: int, width: int) -> Tensor:
    """The anchors of a picture of this size.

    Convention: (N, 4) float32 centre x, centre y, width, height in pixels of the network's input, in the order of
    the network's outputs: by stride, row, column, side.
    """
    levels = []
    for stride, sides in zip(STRIDES_PX, ANCHOR_SIDES_PX, strict=True):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        y = (torch.arange(rows, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(columns, dtype=torch.float32) + 0.5) * stride
        side = torch.tensor(sides, dtype=torch.float32)
        grid_y, grid_x, grid_side = torch.meshgrid(y, x, side, indexing="ij")
        levels.append(torch.stack([grid_x, grid_y, grid_side, grid_side], dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def decode_boxes(regression: Tensor, anchor: Tensor) -> Tensor:
    """Boxes (..., N, 4) as x0, y0, x1, y1 in pixels from the network's (..., N, 4) and ``anchors``."""
    centre = anchor[:, :2] + regression[..., :2] * VARIANCES[0] * anchor[:, 2:]
    size = anchor[:, 2:] * torch.exp(regression[..., 2:] * VARIANCES[1])
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def decode_landmarks(regression: Tensor, anchor: Tensor) -> Tensor:
    """Landmarks (..., N, 5, 2) as x, y in pixels from the network's (..., N, 10) and ``anchors``."""
    points = regression.unflatten(-1, (5, 2))
    return anchor[:, None, :2] + points * VARIANCES[0] * anchor[:, None, 2:]
