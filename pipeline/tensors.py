"""Arrays to tensors and back: the only place that changes layout, channel order and value range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import crops
from pipeline.types import FloatImage


def to_batch(images: Sequence[FloatImage], *, device: torch.device, signed: bool) -> torch.Tensor:
    """(B, 3, H, W) float32 RGB on ``device``, in [-1, 1] when ``signed``, else [0, 1]; from B equal-sized pictures."""
    stacked = torch.from_numpy(np.stack(images))
    if device.type == "cuda":
        # From pinned memory the copy runs beside what the device still computes.
        stacked = stacked.pin_memory()
    batch = stacked.to(device, non_blocking=True).permute(0, 3, 1, 2)
    # The permuted tensor already lies in channels-last order, which is what the convolutions like best.
    return batch * 2 - 1 if signed else batch


def from_batch(batch: torch.Tensor, *, signed: bool) -> list[FloatImage]:
    """B pictures (H, W, 3) float32 in [0, 1], clipped, each with memory of its own.

    Infinite values become not-a-number, as those stay it, so that a check for finite pixels finds both.
    """
    # float32 first: halving in a reduced precision would round once more.
    values = (batch.float() + 1) / 2 if signed else batch.float()
    clipped = torch.where(values.isfinite(), values.clamp(0, 1), torch.nan)
    return [_of_its_own(image) for image in clipped.permute(0, 2, 3, 1)]


def _of_its_own(image: torch.Tensor) -> FloatImage:
    shape = tuple(image.shape)
    array = crops.empty() if shape == crops.SHAPE else np.empty(shape, np.float32)
    torch.from_numpy(array).copy_(image)
    return array


def to_bgr_minus(image: FloatImage, mean: tuple[float, float, float], *, device: torch.device) -> torch.Tensor:
    """(1, 3, H, W) float32 BGR in 0 to 255 minus ``mean``, as networks of Caffe's time take it."""
    bgr = np.empty((1, 3, *image.shape[:2]), np.float32)
    # Plane by plane into what is returned: a large picture's copies cost more than its sums.
    for channel, shift in enumerate(mean):
        np.multiply(image[..., 2 - channel], 255, out=bgr[0, channel])
        bgr[0, channel] -= shift
    return torch.from_numpy(bgr).to(device)


def to_array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """The tensor's values as an array of its own."""
    return np.array(tensor.float().cpu().numpy())
