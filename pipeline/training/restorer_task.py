"""What the restorer learns: pixels, VGG features at two scales, a critic's word when it is tuned, whole faces last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from numpy.random import default_rng
from torch import Tensor, nn
from torch.nn import functional

from pipeline.arch.preview import PreviewRestorer
from pipeline.training.critic import Critic, critic_loss, deceived_loss
from pipeline.training.faces import FACE_PX, Faces, training_batch
from pipeline.training.loop import Plan
from pipeline.training.losses import VggDistance, channels_last

#: Crops per step and their side; seven times as many different faces as whole ones for the same work.
BATCH, CROP_PX = 8, 192
#: The same when it is tuned: whole faces, as in use.
TUNED_BATCH = 4
#: Whole faces per step in the last part of the decay, so that the pooled style sees what it will see in use.
WHOLE_BATCH, WHOLE_FROM = 2, 0.85
#: Windows per step that VGG looks at, and their side; in one step of so many of twice the side, halved.
WINDOWS, WINDOW_PX, FAR_EVERY = 8, 128, 4
#: Weight of the VGG distance beside the pixel loss.
VGG_WEIGHT = 0.1
#: Weight of the critic's word, reached over so many steps; until then the critic learns more than it says.
CRITIC_WEIGHT, CRITIC_RISE = 0.02, 200
#: The critic's own loss is scaled to leave the shared limit on the gradient's length to the restorer.
CRITIC_LEARNS = 0.02
#: Softens the absolute difference near zero.
CHARBONNIER = 1e-3
#: Number of the generator, beside those of the places in the batch, that chooses windows.
WINDOW_STREAM = 1000


T = TypeVar("T")


class Rivals(nn.Module):
    """The restorer and its critic, trained in the same steps by one optimiser."""

    def __init__(self, restorer: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.restorer, self.critic = restorer, critic


class RestorerTask:
    """Trains a ``PreviewRestorer`` on ``faces``; without ``vgg`` on pixels alone.

    ``start``: weights to tune, with features and the critic from the first step on. From random weights VGG comes in
    with the decay and there is no critic: early, both would pull at noise.
    """

    def __init__(
        self,
        faces: Faces,
        *,
        seed: int,
        vgg: VggDistance | None,
        start: dict[str, Tensor] | None = None,
        batch: int | None = None,
        crop_px: int | None = None,
        bfloat16: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self._restorer = channels_last(PreviewRestorer())
        self._critic = None if start is None or vgg is None else Critic()
        self.model: nn.Module = self._restorer if self._critic is None else Rivals(self._restorer, self._critic)
        if start is not None:
            self._restorer.load_state_dict(start)
        self._faces, self._vgg = faces, vgg
        usual = (BATCH, CROP_PX) if start is None else (TUNED_BATCH, FACE_PX)
        self._batch, self._crop_px, self._bfloat16 = batch or usual[0], crop_px or usual[1], bfloat16

    def loss(self, step: int, plan: Plan) -> tuple[Tensor, dict[str, float]]:
        late = plan.late(step)
        size, crop_px = self._batch, self._crop_px
        if late >= WHOLE_FROM and crop_px < FACE_PX:
            size, crop_px = WHOLE_BATCH, FACE_PX
        degraded, target = training_batch(self._faces, seed=plan.seed, step=step, size=size, crop_px=crop_px)
        output = self._computed(self._restorer, degraded).float()
        pixels = torch.sqrt((output - target) ** 2 + CHARBONNIER**2).mean()
        figures = {"pixels": float(pixels.detach()), "identity": float((degraded - target).abs().mean())}
        if self._vgg is None or (self._critic is None and late == 0):
            return pixels, figures
        far = step % FAR_EVERY == FAR_EVERY - 1
        made, real = windows(output, target, far=far, seed=plan.seed, step=step)
        with torch.no_grad():
            wanted = self._computed(self._vgg.features, real)
        found = self._computed(self._vgg.features, made)
        distance = torch.stack([functional.l1_loss(f, w) for f, w in zip(found, wanted, strict=True)]).sum().float()
        figures["features"] = float(distance.detach())
        loss = pixels + VGG_WEIGHT * distance
        # One critic, one scale: texture at half size is another matter.
        if self._critic is not None and not far:
            wanted, found = [w.float() for w in wanted], [f.float() for f in found]
            share = CRITIC_WEIGHT * min(1.0, step / CRITIC_RISE)
            loss = loss + share * deceived_loss(self._critic, found)
            learnt = critic_loss(self._critic, wanted, found)
            figures["critic"] = float(learnt.detach())
            loss = loss + CRITIC_LEARNS * learnt
        return loss, figures

    def _computed(self, by: Callable[[Tensor], T], given: Tensor) -> T:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            return by(given)


def windows(output: Tensor, target: Tensor, *, far: bool, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """(made, real), each (WINDOWS, 3, WINDOW_PX, WINDOW_PX) or smaller: the same random places of both.

    ``far``: from places of twice the side, at half size. A function of its arguments alone.
    """
    rng = default_rng([seed, step, WINDOW_STREAM])
    side = min(WINDOW_PX * (2 if far else 1), *output.shape[2:])
    made, real = [], []
    for number in range(WINDOWS):
        y, x = (int(rng.integers(0, length - side + 1)) for length in output.shape[2:])
        place = (number % len(output), slice(None), slice(y, y + side), slice(x, x + side))
        made.append(output[place])
        real.append(target[place])
    pair = (torch.stack(made), torch.stack(real))
    if far:
        pair = (functional.avg_pool2d(pair[0], 2), functional.avg_pool2d(pair[1], 2))
    return (
        pair[0].contiguous(memory_format=torch.channels_last),
        pair[1].contiguous(memory_format=torch.channels_last),
    )
