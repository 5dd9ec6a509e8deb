"""What the restorer learns: pixels first, VGG features at half size late, whole faces at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.arch.preview import PreviewRestorer
from pipeline.training.faces import FACE_PX, Faces, training_batch
from pipeline.training.loop import Plan
from pipeline.training.losses import VggDistance, channels_last

#: Crops per step and their side; seven times as many different faces as whole ones for the same work.
BATCH, CROP_PX = 8, 192
#: Whole faces per step in the last part of the decay, so that the pooled style sees what it will see in use.
WHOLE_BATCH, WHOLE_FROM = 2, 0.85
#: Weight of the VGG distance beside the pixel loss at the end of the decay, and the share of the batch it looks at.
VGG_WEIGHT, VGG_SHARE = 0.02, 0.25
#: Softens the absolute difference near zero.
CHARBONNIER = 1e-3


class RestorerTask:
    """Trains a ``PreviewRestorer`` on ``faces``; without ``vgg`` on pixels alone."""

    def __init__(
        self, faces: Faces, *, seed: int, vgg: VggDistance | None, batch: int = BATCH, crop_px: int = CROP_PX
    ) -> None:
        torch.manual_seed(seed)
        self.model: nn.Module = channels_last(PreviewRestorer())
        self._faces, self._vgg = faces, vgg
        self._batch, self._crop_px = batch, crop_px

    def loss(self, step: int, plan: Plan) -> tuple[Tensor, dict[str, float]]:
        late = plan.late(step)
        size, crop_px = (WHOLE_BATCH, FACE_PX) if late >= WHOLE_FROM else (self._batch, self._crop_px)
        degraded, target = training_batch(self._faces, seed=plan.seed, step=step, size=size, crop_px=crop_px)
        output = self.model(degraded)
        pixels = torch.sqrt((output - target) ** 2 + CHARBONNIER**2).mean()
        figures = {"pixels": float(pixels.detach()), "identity": float((degraded - target).abs().mean())}
        if self._vgg is None or late == 0:
            return pixels, figures
        looked_at = max(1, int(size * VGG_SHARE))
        features = self._vgg(_half(output[:looked_at]), _half(target[:looked_at])).mean()
        figures["features"] = float(features.detach())
        return pixels + VGG_WEIGHT * features, figures


def _half(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 2)
