"""What the background upsampler learns: pictures at twice their size, a little cleaner than they came.

Convention: pictures are (H, W, 3) float32 RGB in [0, 1]; the target's side is twice the input's.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch.upsamplers import build_srvgg
from pipeline.training.degrade import GRAY_SHARE, Degradation, as_floats, degrade, to_gray
from pipeline.training.faces import FACE_PX, Faces, to_batch
from pipeline.training.loop import Plan
from pipeline.training.losses import channels_last
from pipeline.training.restorer_task import CHARBONNIER
from pipeline.training.textures import drawn, picture_part
from pipeline.types import FloatImage

#: The network: two seconds a megapixel of input on two CPU cores.
SCALE, FEATURES, CONVOLUTIONS = 2, 24, 10
#: What its activations start with below zero. Source: torch's PReLU.
PRELU_SLOPE = 0.25
#: Pictures per step and the side of their targets (px).
BATCH, TARGET_PX = 8, 128
#: How often a sample is a part of a portrait or of a face-free picture; the others are drawn.
PORTRAIT_SHARE, PICTURE_SHARE = 0.65, 0.2
#: How often a sample is as sharp and clean as its picture is.
CLEAN_SHARE = 0.25
#: How pictures are made small.
RESAMPLINGS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


class UpsamplerTask:
    """Trains a small SRVGG from its random start on parts of ``faces`` and ``pictures``."""

    def __init__(
        self,
        faces: Faces,
        pictures: tuple[NDArray[np.uint8], ...],
        *,
        seed: int,
        batch: int = BATCH,
        target_px: int = TARGET_PX,
    ) -> None:
        torch.manual_seed(seed)
        network = build_srvgg(scale=SCALE, features=FEATURES, convolutions=CONVOLUTIONS)
        _start(network)
        self.model: nn.Module = channels_last(network)
        self._faces, self._pictures = faces, pictures
        self._batch, self._target_px = batch, target_px

    def loss(self, step: int, plan: Plan) -> tuple[Tensor, dict[str, float]]:
        pairs = [
            enlarging_pair(
                self._faces, self._pictures, rng=default_rng([plan.seed, step, place]), target_px=self._target_px
            )
            for place in range(self._batch)
        ]
        target = to_batch([large for _, large in pairs])
        output = self.model(to_batch([small for small, _ in pairs]))
        pixels = torch.sqrt((output - target) ** 2 + CHARBONNIER**2).mean()
        plain = float(np.mean([np.abs(bicubic(small) - large).mean() for small, large in pairs]))
        return pixels, {"pixels": float(pixels.detach()), "bicubic": plain}


def _start(network: nn.Module) -> None:
    """Weights that keep signals in size, and an output that is the plain enlargement which the network adds to.

    With torch's own start the signal is lost on its way through a dozen layers, and 350 steps taught nothing.
    """
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, a=PRELU_SLOPE)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    nn.init.zeros_(convolutions[-1].weight)


def enlarging_pair(
    faces: Faces, pictures: tuple[NDArray[np.uint8], ...], *, rng: Generator, target_px: int
) -> tuple[FloatImage, FloatImage]:
    """(input, target): a random part of a picture, and the same at half its size, mostly a little spoiled."""
    target = _part(faces, pictures, rng, target_px)
    if rng.random() < 0.5:
        target = np.ascontiguousarray(target[:, ::-1])
    if rng.random() < GRAY_SHARE:
        target = to_gray(target)
    side = target_px // SCALE
    how = RESAMPLINGS[int(rng.integers(len(RESAMPLINGS)))]
    small = np.clip(as_floats(cv2.resize(target, (side, side), interpolation=how)), 0, 1)
    if rng.random() < CLEAN_SHARE:
        return small, target
    spoiled = Degradation(
        blur_sigma=float(rng.uniform(0, 1.1)),
        down=1,
        noise_sigma=float(rng.uniform(0, 7)),
        jpeg_quality=int(rng.integers(50, 101)),
    )
    return degrade(small, spoiled, rng), target


def _part(faces: Faces, pictures: tuple[NDArray[np.uint8], ...], rng: Generator, side: int) -> FloatImage:
    kind = rng.random()
    if kind < PORTRAIT_SHARE or (not pictures and kind < PORTRAIT_SHARE + PICTURE_SHARE):
        # Portraits are enlarged scans themselves: at half their size they have the detail that a target needs.
        taken = side * int(rng.choice((1, 2)))
        y, x = (int(v) for v in rng.integers(0, FACE_PX - taken + 1, 2))
        part = faces[int(rng.integers(len(faces)))][y : y + taken, x : x + taken]
        return as_floats(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA))
    if kind < PORTRAIT_SHARE + PICTURE_SHARE:
        return picture_part(rng, side, pictures)
    return drawn(rng, side)


def bicubic(small: FloatImage) -> FloatImage:
    """What plain resampling makes of the same input: the figure to beat."""
    height, width = small.shape[:2]
    large = cv2.resize(small, (width * SCALE, height * SCALE), interpolation=cv2.INTER_CUBIC)
    return np.clip(as_floats(large), 0, 1)
