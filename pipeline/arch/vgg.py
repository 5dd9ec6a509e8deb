"""VGG-19's convolutions, whose features perceptual and style losses compare.

Paper: Simonyan & Zisserman, Very Deep Convolutional Networks, 2015 (arXiv 1409.1556). Two published files are read and
told apart by their keys: torchvision's vgg19-dcbb9e9d.pth (``features.0.weight``), and the normalised stack up to
conv3_1 or beyond of Huang & Belongie (arXiv 1703.06868; ``0.weight``, 1 x 1), whose first layer does the preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import WeightsCorrupt

#: Convolutions of each stage; a pooling stands after each.
STAGES = (2, 2, 4, 4, 4)

#: What torchvision's files expect of pictures in [0, 1]. Source: torchvision.models, "ImageNet" preprocessing.
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Names of all convolutions in order.
NAMES = tuple(f"conv{stage}_{i}" for stage, count in enumerate(STAGES, start=1) for i in range(1, count + 1))


class VggFeatures(nn.Module):
    """Outputs of the named convolutions, before their ReLU, of pictures (B, 3, H, W) RGB in [0, 1].

    Raises:
        WeightsCorrupt: the file is neither of the two, or lacks a convolution.
    """

    def __init__(self, tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
        super().__init__()
        unknown = [name for name in names if name not in NAMES]
        if unknown or not names:
            raise WeightsCorrupt(f"VGG-19 has no layer {', '.join(unknown) or 'named'}; it has {', '.join(NAMES)}")
        self.names = tuple(sorted(names, key=NAMES.index))
        first = tensors.get("0.weight")
        self.normalised = first is not None and first.shape[-1] == 1
        self.prefix = "" if "0.weight" in tensors else "features."
        self.preprocess = self._conv(tensors, "0", padding=0) if self.normalised else None
        needed = NAMES[: NAMES.index(self.names[-1]) + 1]
        at = self._places()
        self.convs = nn.ModuleDict({name: self._conv(tensors, str(at[name]), padding=1) for name in needed})
        for name, values in (("mean", MEAN_RGB), ("std", STD_RGB)):
            self.register_buffer(name, torch.tensor(values)[None, :, None, None], persistent=False)
        self.requires_grad_(requires_grad=False)

    def _places(self) -> dict[str, int]:
        """Index of each convolution in the file: ReLU, pooling and (normalised) padding count as layers too."""
        places, index = {}, 2 if self.normalised else 0
        step = 3 if self.normalised else 2
        for name in NAMES:
            if name != NAMES[0] and name.endswith("_1"):
                index += 1  # the pooling
            places[name] = index
            index += step
        return places

    def _conv(self, tensors: Mapping[str, Tensor], at: str, *, padding: int) -> nn.Conv2d:
        try:
            weight, bias = tensors[f"{self.prefix}{at}.weight"], tensors[f"{self.prefix}{at}.bias"]
        except KeyError as err:
            raise WeightsCorrupt(f"the VGG file has no layer {err}; wanted are {', '.join(self.names)}") from err
        mode = "reflect" if self.normalised and padding else "zeros"
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=padding, padding_mode=mode)
        conv.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        return conv

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = (x - self.mean) / self.std if self.preprocess is None else self.preprocess(x)
        found = {}
        for name, conv in self.convs.items():
            if name != NAMES[0]:
                x = F.relu(x)
                if name.endswith("_1"):
                    x = F.max_pool2d(x, 2, 2, ceil_mode=self.normalised)
            x = conv(x)
            if name in self.names:
                found[name] = x
        return found
