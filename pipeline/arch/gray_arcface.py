"""The recogniser of GFPGAN's identity loss: an ArcFace ResNet-18 that looks at gray faces.

Papers: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019 (arXiv 1801.07698);
the loss: Wang et al. 2021 (arXiv 2101.04061), section 3.4. Own code; state-dict keys are those of the published
arcface_resnet18.pth (https://github.com/TencentARC/GFPGAN, Apache-2.0), so that it loads strictly.
"""

from __future__ import annotations

from torch import Tensor, nn

#: Side of the faces that it takes.
FACE_PX = 128

#: Channels and number of blocks of each of the four stages.
WIDTHS, BLOCKS = (64, 128, 256, 512), (2, 2, 2, 2)

#: Length of the description.
FEATURES = 512


def _conv(c_in: int, c_out: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Normalisation, two convolutions and a shortcut; both activations are the same one, as published."""

    def __init__(self, c_in: int, c_out: int, *, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(c_in)
        self.conv1, self.bn1 = _conv(c_in, c_in), nn.BatchNorm2d(c_in)
        self.prelu = nn.PReLU()
        self.conv2, self.bn2 = _conv(c_in, c_out, stride=stride), nn.BatchNorm2d(c_out)
        same = stride == 1 and c_in == c_out
        self.downsample = (
            None if same else nn.Sequential(_conv(c_in, c_out, size=1, stride=stride), nn.BatchNorm2d(c_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        out = self.bn2(self.conv2(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        activated: Tensor = self.prelu(out)
        return activated


class GrayArcFace(nn.Module):
    """A face as (B, 512) numbers, not of unit length, from (B, 1, 128, 128) gray in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.prelu = _conv(1, WIDTHS[0]), nn.BatchNorm2d(WIDTHS[0]), nn.PReLU()
        self.maxpool = nn.MaxPool2d(2, 2)
        before = WIDTHS[0]
        for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True), start=1):
            blocks = [Block(before, width, stride=1 if stage == 1 else 2)]
            blocks += [Block(width, width, stride=1) for _ in range(count - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.bn4 = nn.BatchNorm2d(before)
        self.dropout = nn.Dropout()
        self.fc5 = nn.Linear(before * (FACE_PX // 16) ** 2, FEATURES)
        self.bn5 = nn.BatchNorm1d(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        out = self.maxpool(self.prelu(self.bn1(self.conv1(x))))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        described: Tensor = self.bn5(self.fc5(self.dropout(self.bn4(out)).flatten(1)))
        return described
