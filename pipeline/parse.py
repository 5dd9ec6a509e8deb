"""Which pixels of an aligned face belong to the face: ParseNet's classes as a soft mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.arch import parsenet
from pipeline.arch.networks import Network
from pipeline.batches import in_batches
from pipeline.device import exact
from pipeline.geometry import CROP_PX
from pipeline.tensors import to_batch
from pipeline.types import Compute, FloatImage, Mask, Stage

#: How soft the mask's edge is. Source: facexlib's two Gaussian blurs of sigma 11 are one of 11 * sqrt(2).
EDGE_SIGMA_PX = 11 * 2**0.5

#: The blur is done at this part of the size, where it costs a sixteenth and changes nothing that can be seen.
BLUR_AT = 4

#: The outermost pixels of the crop are never pasted. Source: facexlib, "remove the black borders".
BORDER_PX = 10


class FaceParser:
    """Makes masks with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], Network], device: torch.device) -> None:
        self._network = network
        self._device = device

    def __call__(
        self, faces: Sequence[FloatImage], *, compute: Compute, on_fraction: Callable[[float], None] = lambda _: None
    ) -> tuple[Mask, ...]:
        """A soft mask (512, 512) in [0, 1] for each restored face (512, 512, 3) RGB in [0, 1].

        Raises:
            OutOfMemory: a single face does not fit.
            WeightsError: the network cannot be loaded.
        """
        labels = in_batches(
            self._labels, faces, device=self._device, compute=compute, stage=Stage.PARSE, on_fraction=on_fraction
        )
        return tuple(soft_mask(one) for one in labels)

    def _labels(self, faces: Sequence[FloatImage]) -> list[NDArray[np.uint8]]:
        with exact():
            scores = self._network().module(to_batch(faces, device=self._device, signed=True))[0]
            return list(scores.argmax(dim=1).to(torch.uint8).cpu().numpy())


def soft_mask(labels: NDArray[np.uint8]) -> Mask:
    """A soft mask (512, 512) in [0, 1] from ParseNet's class of each pixel."""
    hard = np.isin(labels, parsenet.FACE_CLASSES).astype(np.float32)
    small_side = CROP_PX // BLUR_AT
    small = cv2.resize(hard, (small_side, small_side), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), EDGE_SIGMA_PX / BLUR_AT)
    mask = np.asarray(cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR), np.float32)
    framed = np.zeros_like(mask)
    inner = slice(BORDER_PX, CROP_PX - BORDER_PX)
    framed[inner, inner] = np.clip(mask[inner, inner], 0, 1)
    return framed
