"""Square parts of faces, resampled to one size: what torchvision's ``roi_align`` computes, as two small matrices.

A box's samples lie on a grid, so that bilinear sampling and averaging are one linear map for rows and one for columns.
Unlike the compiled operator, whose gradient on GPUs adds up in any order, this one gives the same sums every time, and
it needs no compiled torchvision.

Source: He et al., Mask R-CNN, 2017 (arXiv 1703.06870); torchvision.ops.roi_align with its defaults (not aligned, as
many samples as pixels in a bin).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Sides of the parts, of a face of 512 px. Source: the seed project's gfpgan_model.
EYE_PX, MOUTH_PX, FACE_PX = 80, 120, 512


def part_px(size: int) -> tuple[int, int]:
    """Sides of eyes and mouths for faces of this size."""
    return round(EYE_PX * size / FACE_PX), round(MOUTH_PX * size / FACE_PX)


def regions(images: Tensor, boxes: Tensor, *, side: int) -> Tensor:
    """(B, C, side, side) of (B, C, H, W): from each picture the part in its box.

    Convention: ``boxes`` (B, 4) x0, y0, x1, y1 in pixels, whose 0 is the middle of the first pixel (not aligned).
    """
    height, width = images.shape[-2:]
    placed = boxes.detach().cpu().double()
    rows = torch.stack([_sampling(float(b[1]), float(b[3]), side, height) for b in placed])
    columns = torch.stack([_sampling(float(b[0]), float(b[2]), side, width) for b in placed])
    rows, columns = rows.to(images), columns.to(images)
    cut: Tensor = rows[:, None] @ images @ columns[:, None].transpose(-1, -2)
    return cut


def _sampling(start: float, end: float, bins: int, length: int) -> Tensor:
    """How each of ``bins`` equal parts from ``start`` to ``end`` is made of a line of ``length`` pixels."""
    span = max(end - start, 1.0)
    each = max(1, math.ceil(span / bins))
    at = start + (torch.arange(bins * each, dtype=torch.float64) + 0.5) * span / (bins * each)
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=length - 1)
    weights = torch.zeros(bins * each, length, dtype=torch.float64)
    lines = torch.arange(bins * each)
    weights[lines, low] += (1 - (at - low)) * inside
    weights[lines, high] += (at - low) * inside
    shares: Tensor = weights.unflatten(0, (bins, each)).mean(dim=1)
    return shares
