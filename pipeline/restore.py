"""Restores aligned faces, and refuses what the network gives when it cannot be right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pipeline.arch import gfpgan_clean
from pipeline.arch.networks import Network
from pipeline.batches import in_batches
from pipeline.device import exact
from pipeline.errors import BadNetworkOutput
from pipeline.tensors import from_batch, to_batch
from pipeline.types import Compute, FloatImage, Stage

#: A restored face whose values spread less than this, where its input's spread more, is a failure of the network
#: (half precision is known for black or one-coloured faces).
FLAT_SPREAD = 0.01

#: How far a restored face may be from its input at PLAUSIBLE_SIDE px, on average over pixels and channels: restoring
#: changes detail, not where light and dark are. Half of a black-to-white change.
PLAUSIBLE_SIDE = 16
PLAUSIBLE_DISTANCE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Restored:
    """One face's result: a picture, or why there is none."""

    image: FloatImage | None
    fault: str | None = None


class FaceRestorer:
    """Restores faces with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], Network], device: torch.device) -> None:
        self._network = network
        self._device = device

    def __call__(
        self,
        crops: Sequence[FloatImage],
        *,
        compute: Compute,
        seed: int | None = None,
        passes: int = 1,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> tuple[Restored, ...]:
        """A result for each crop (512, 512, 3) float32 RGB in [0, 1]; the same crop gives the same result in any batch.

        Raises:
            OutOfMemory: a single face does not fit.
            WeightsError: the network cannot be loaded.
        """
        images = in_batches(
            functools.partial(self._forward, seed=seed, passes=passes),
            crops,
            device=self._device,
            compute=compute,
            stage=Stage.RESTORE,
            passes=passes,
            on_fraction=on_fraction,
        )
        return tuple(_checked(image, crop) for image, crop in zip(images, crops, strict=True))

    def _forward(self, crops: Sequence[FloatImage], *, seed: int | None, passes: int) -> list[FloatImage]:
        network = self._network()
        images = list(crops)
        for _ in range(passes):
            with exact():
                batch = to_batch(images, device=self._device, signed=network.signed)
                images = from_batch(_run(network, batch, seed), signed=network.signed)
        return images


def _run(network: Network, batch: torch.Tensor, seed: int | None) -> torch.Tensor:
    if seed is None or not network.has_noise:
        result: torch.Tensor = network.module(batch)
    else:
        size = network.module.size
        result = network.module(batch, noise=gfpgan_clean.seeded_noise(seed, int(size)))  # type: ignore[arg-type]
    return result


def check_restored(image: FloatImage, crop: FloatImage) -> None:
    """Refuse a result that cannot be the restored crop.

    Raises:
        BadNetworkOutput: another size, not finite, flat, or far from its input.
    """
    if image.shape != crop.shape:
        raise BadNetworkOutput(f"the network gave {image.shape} for a crop of {crop.shape}")
    if not np.isfinite(image).all():
        raise BadNetworkOutput("the network gave values that are not finite")
    if float(image.std()) < FLAT_SPREAD <= float(crop.std()):
        raise BadNetworkOutput("the network gave a flat picture")
    side = (PLAUSIBLE_SIDE, PLAUSIBLE_SIDE)
    before, after = (cv2.resize(i, side, interpolation=cv2.INTER_AREA) for i in (crop, image))
    distance = float(np.abs(after - before).mean())
    if distance > PLAUSIBLE_DISTANCE:
        raise BadNetworkOutput(
            f"the network's picture is {distance:.2f} away from its input; {PLAUSIBLE_DISTANCE} allowed"
        )


def _checked(image: FloatImage, crop: FloatImage) -> Restored:
    try:
        check_restored(image, crop)
    except BadNetworkOutput as err:
        # One face's failure is recorded with it; the picture's other faces are not lost.
        return Restored(image=None, fault=str(err))
    return Restored(image=image)
