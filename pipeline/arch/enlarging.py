"""Convolutions (3x3) of a picture at twice its sides, computed at the small picture's size by fewer products.

Enlarging bilinearly is putting zeros between the samples and filtering by 1-3-3-1, and a convolution and a filter may
change places. So the convolution comes first, where three of four samples are zeros that need no product, and the
filter, which sees each channel by itself, second: StyleGAN2's own order (Karras et al., 2020, arXiv 1912.04958).
It takes 9 products where the published order takes 36. Where pixels are repeated, each is there twice among three
neighbours, so that their weights can be added beforehand: 16 products.
The sums are the same; floats round otherwise, by 1e-6 of the values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: The filter's outer and inner weights, of one axis.
OUTER, INNER = 0.25, 0.75


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W), bilinearly; pixels are areas, and the border is repeated."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def doubled_and_convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """What ``conv2d(doubled(x), kernel, padding=1)`` gives, a new array.

    Convention: ``x`` (B, c_in, H, W), ``kernel`` (c_out, c_in, 3, 3); gives (B, c_out, 2H, 2W).
    """
    spread = F.conv_transpose2d(
        F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel.flip(2, 3).transpose(0, 1), stride=2, padding=1
    )
    out = F.conv2d(spread, _filter_like(spread), groups=spread.shape[1])
    # Here the border is repeated for ever, where a convolution sees zeros: what it saw there is taken off again.
    for row, weights in ((0, 0), (-1, 2)):
        beyond = F.pad(doubled(_line(x, 2, row))[:, :, :1], (1, 1, 0, 0), mode="replicate")
        _line(out, 2, row).sub_(F.conv2d(beyond, _line(kernel, 2, weights)))
    for column, weights in ((0, 0), (-1, 2)):
        beyond = doubled(_line(x, 3, column))[:, :, :, :1]
        _line(out, 3, column).sub_(F.conv2d(beyond, _line(kernel, 3, weights), padding=(1, 0)))
    return out


def _line(x: Tensor, dim: int, at: int) -> Tensor:
    """One row (2) or column (3) of it, as a view.

    By a slice with an end: of others OpenVINO cannot read again what it has written, and ``narrow`` it cannot export.
    """
    first = at % int(x.shape[dim])
    one = slice(first, first + 1)
    return x[:, :, one] if dim == 2 else x[:, :, :, one]


def repeating(kernel: Tensor) -> Tensor:
    """A kernel (c_out, c_in, 3, 3) for a picture of repeated pixels as one (c_in, c_out, 4, 4) for a transposed one.

    ``conv_transpose2d(x, repeating(kernel), stride=2, padding=1)`` is the convolution of the picture with each pixel
    four times, and zeros around it.
    """
    for dim in (2, 3):
        first, middle, last = kernel.unbind(dim)
        kernel = torch.stack([last, middle + last, first + middle, first], dim)
    return kernel.transpose(0, 1).contiguous()


def _filter_like(x: Tensor) -> Tensor:
    """The 1-3-3-1 filter over both axes, for each channel of ``x`` (channels, 1, 4, 4)."""
    # Not made of a list: that would be a copy to the device, which a CUDA graph cannot hold.
    taps = x.new_full((4,), INNER)
    taps[::3] = OUTER
    return (taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)
