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
from typing import Literal

import torch
from torch import Tensor, nn

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
    """An untrained RetinaFace in eval mode on the CPU.

    Convention: forward takes (B, 3, H, W) BGR in 0 to 255 minus ``MEAN_BGR`` and gives a tuple of boxes (B, N, 4),
    class probabilities (B, N, 2; with ``network.phase = "train"`` raw scores) and landmarks (B, N, 10), all relative
    to the anchors of ``anchors(H, W)``; state-dict keys are the published files' without their ``module.``.
    """
    with foreign():
        from facexlib.detection.retinaface import RetinaFace  # noqa: PLC0415  (after the shims)

        return RetinaFace(network_name=backbone, half=False, device=torch.device("cpu"))


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
