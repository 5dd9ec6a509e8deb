"""How alike a face still looks to its original: the similarity of ArcFace's vectors before and after.

The vectors themselves are biometric data: they live while a picture is worked on and are never stored or told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import align
from pipeline.arch import arcface
from pipeline.batches import in_batches
from pipeline.device import exact
from pipeline.geometry import FFHQ_TEMPLATE
from pipeline.tensors import to_array, to_batch
from pipeline.types import Affine, Compute, FloatImage, Stage

#: Where left eye, right eye, nose and the corners of the mouth lie in the faces that ArcFace was trained with, 112 px.
#: Source: facexlib's detection/align_trans.py, REFERENCE_FACIAL_POINTS of 96 x 112 px, widened to a square.
ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [[38.29459953, 51.6963], [73.53179932, 51.5014], [56.0252, 71.7366], [41.54930115, 92.3655], [70.72990036, 92.2041]]
)


class FaceRecogniser:
    """Compares faces with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], nn.Module], device: torch.device) -> None:
        self._network = network
        self._device = device

    def __call__(
        self,
        pairs: Sequence[tuple[FloatImage, FloatImage]],
        *,
        compute: Compute,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> tuple[float | None, ...]:
        """The cosine similarity, -1 to 1, of the two faces of each pair; None where the network gave no numbers.

        Convention: faces (512, 512, 3) float32 RGB in [0, 1], aligned to FFHQ's template.

        Raises:
            OutOfMemory: a single face does not fit.
            WeightsError: the network cannot be loaded.
        """
        vectors = in_batches(
            self._vectors,
            [face for pair in pairs for face in pair],
            device=self._device,
            compute=compute,
            stage=Stage.IDENTIFY,
            on_fraction=on_fraction,
        )
        return tuple(
            _similarity(before, after) for (before, _), (after, _) in zip(vectors[::2], vectors[1::2], strict=True)
        )

    def _vectors(self, faces: Sequence[FloatImage]) -> list[NDArray[np.float32]]:
        side = (arcface.FACE_PX, arcface.FACE_PX)
        small = [align.warp(face, crop_to_arcface(), side) for face in faces]
        with exact():
            # The network knows its colours in OpenCV's order; see pipeline/arch/arcface.py.
            batch = to_batch(small, device=self._device, signed=True).flip(1)
            # facexlib's network flattens by a view, which channels-last memory does not allow.
            batch = batch.contiguous(memory_format=torch.contiguous_format)
            return list(to_array(self._network()(batch)))


@functools.lru_cache(maxsize=1)
def crop_to_arcface() -> Affine:
    """From an FFHQ-aligned crop to the network's view: the similarity that brings the templates closest, by squares.

    No more than 2.2 of 112 px apart at any of the five points: the two templates are of differently averaged faces.
    """
    rows = [row for x, y in FFHQ_TEMPLATE for row in ((x, -y, 1.0, 0.0), (y, x, 0.0, 1.0))]
    (a, b, right, down), *_ = np.linalg.lstsq(np.array(rows), ARCFACE_TEMPLATE.ravel())
    return np.array([[a, -b, right], [b, a, down]])


def _similarity(before: NDArray[np.float32], after: NDArray[np.float32]) -> float | None:
    # The vectors have length one.
    cosine = float(before @ after)
    return round(min(1.0, max(-1.0, cosine)), 4) if np.isfinite(cosine) else None
