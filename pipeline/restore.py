"""Restores aligned faces, and refuses what the network gives when it cannot be right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pipeline import plausible
from pipeline.arch import gfpgan_clean
from pipeline.arch.networks import Network, Runs
from pipeline.batches import in_batches
from pipeline.casting import Casting, Outcome, sample
from pipeline.geometry import CROP_PX
from pipeline.tensors import from_batch, to_batch
from pipeline.types import Compute, FloatImage, Stage

#: A restored face whose values spread less than this shows no face.
FLAT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Restored:
    """One face's result: a picture, or why there is none."""

    image: FloatImage | None
    fault: str | None = None
    seconds: float = 0.0  #: of the device's time


class FaceRestorer:
    """Restores faces with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], Network], device: torch.device, casting: Casting | None = None) -> None:
        self._network = network
        self._device = device
        self._casting = casting or Casting()

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
        outcomes = in_batches(
            functools.partial(self._forward, seed=seed, passes=passes),
            crops,
            device=self._device,
            compute=compute,
            stage=Stage.RESTORE,
            passes=passes,
            key=(self._casting.key, seed, passes),
            notes=self._casting,
            on_shared=self._casting.adopt,
            on_fraction=on_fraction,
        )
        # One face's failure is recorded with it; the picture's other faces are not lost.
        return tuple(
            Restored(image=None if one.fault else one.value, fault=one.fault, seconds=seconds)
            for one, seconds in outcomes
        )

    def _forward(self, crops: Sequence[FloatImage], *, seed: int | None, passes: int) -> list[Outcome[FloatImage]]:
        network = self._network()

        def through(runs: Runs, some: Sequence[FloatImage]) -> list[FloatImage]:
            images = list(some)
            for _ in range(passes):
                images = _restored(network, runs, images, self._device, seed=seed)
            return images

        return self._casting.checked(
            network,
            through,
            crops,
            device=self._device,
            look=functools.partial(look, network, self._device),
            fault_of=functools.partial(plausible.fault_of, flat=FLAT),
        )


def look(network: Network, device: torch.device, runs: Runs) -> FloatImage:
    """What a restorer makes of the canary's picture. Device work."""
    return _restored(network, runs, [sample(CROP_PX)], device, seed=None)[0]


def _restored(
    network: Network, runs: Runs, images: Sequence[FloatImage], device: torch.device, *, seed: int | None
) -> list[FloatImage]:
    batch = to_batch(images, device=device, signed=network.signed)
    if seed is None or not network.has_noise:
        return from_batch(runs(batch), signed=network.signed)
    size = network.module.size
    noise = gfpgan_clean.seeded_noise(seed, int(size))  # type: ignore[arg-type]
    return from_batch(runs(batch, noise=noise), signed=network.signed)
