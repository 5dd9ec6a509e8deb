"""Finds faces: RetinaFace on copies of the picture at several bounded sizes, merged.

One size does not do: the network knows faces of 16 to 512 px, so a face that fills a scan is seen only on a small copy
and a face in a group only on a large one; and the full size of a 100-megapixel scan fits no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.arch import retinaface
from pipeline.compat import nms
from pipeline.device import exact
from pipeline.resize import resize
from pipeline.tensors import to_array, to_bgr_minus
from pipeline.types import Compute, Face, FloatImage, Stage

#: Long sides (px) of the copies. Coarse: a face that fills it is still within the largest anchor. Base: where most
#: faces of most pictures are found. Fine: small faces of large pictures; more costs more than it finds (a face below
#: 20 px here has too little detail to restore).
COARSE_PX, BASE_PX, FINE_PX = 480, 1280, 2560

#: A picture whose smallest face on the base copy is below this (px) may hold smaller ones: it is looked at enlarged.
SMALL_FACE_PX = 40

#: Pictures below this are not enlarged for a second look; there is nothing in them.
MIN_SIDE_PX = 16

#: Candidates below this are not told of at all; between this and ``min_score`` they are recorded as rejected.
CANDIDATE_SCORE = 0.3

#: Two boxes that overlap by more than this are one face. Source: facexlib's detect_faces.
SAME_FACE_IOU = 0.4

#: Sizes (network px) at which the detector's landmarks are best; a copy that sees a face within them is believed
#: over one that does not.
TRUSTED_PX = (24.0, 420.0)

#: How much less a face counts, in merging, on a copy that sees it outside of that.
DISTRUST = 0.5


class FaceDetector:
    """Finds faces with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], nn.Module], device: torch.device) -> None:
        self._network = network
        self._device = device

    def __call__(
        self, image: FloatImage, *, compute: Compute, on_fraction: Callable[[float], None] = lambda _: None
    ) -> tuple[Face, ...]:
        """Every candidate in source pixels, best first; overlapping ones merged, nothing else filtered.

        Convention: ``image`` (H, W, 3) float32 RGB in [0, 1].
        """
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE_PX:
            return ()
        found: list[_Seen] = []
        sizes = _copy_sizes(max(height, width))
        copy = image
        for done, long_side in enumerate(sizes):
            # From the largest copy to the smallest, each made from the one before.
            copy = _bounded(copy, image.shape, long_side)
            found += self._look(copy, image.shape, compute)
            on_fraction((done + 1) / (len(sizes) + 1))
        if _may_hold_smaller(found, max(height, width)):
            enlarged = _bounded(image, image.shape, min(BASE_PX * 2, 2 * max(height, width)))
            found += self._look(enlarged, image.shape, compute)
        return _merged(found)

    def _look(self, copy: FloatImage, source_shape: tuple[int, ...], compute: Compute) -> list[_Seen]:
        height, width = copy.shape[:2]
        x_factor, y_factor = source_shape[1] / width, source_shape[0] / height
        boxes, landmarks, scores = compute(
            lambda: detect_once(self._network(), copy, device=self._device),
            stage=Stage.DETECT,
            megapixels=width * height / 1e6,
        )
        return [
            _Seen(box, points, score, max(x_factor, y_factor), np.array([x_factor, y_factor]))
            for box, points, score in zip(boxes, landmarks, scores, strict=True)
        ]


class _Seen:
    """A face as one copy shows it, in source pixels."""

    __slots__ = ("face", "rank", "seen_px")

    def __init__(
        self,
        box: NDArray[np.float32],
        landmarks: NDArray[np.float32],
        score: np.float32,
        factor: float,
        factors: NDArray[np.float64],
    ) -> None:
        # Pixel centres: (x + 0.5) * factor - 0.5, as resizing maps them.
        x0, y0, x1, y1 = (float(v) for v in ((box.reshape(2, 2) + 0.5) * factors - 0.5).reshape(4))
        self.face = Face(
            box=(x0, y0, x1, y1),
            landmarks=((landmarks + 0.5) * factors - 0.5).astype(np.float32),
            score=float(score),
        )
        self.seen_px = self.face.size_px / factor
        trusted = TRUSTED_PX[0] <= self.seen_px <= TRUSTED_PX[1]
        self.rank = self.face.score * (1.0 if trusted else DISTRUST)


def detect_once(
    network: nn.Module, image: FloatImage, *, device: torch.device, threshold: float = CANDIDATE_SCORE
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (N, 4), landmarks (N, 5, 2) and scores (N,) of one picture at one size, best first, overlaps removed.

    Convention: ``image`` (H, W, 3) float32 RGB in [0, 1]; results in its pixels. Device work.
    Source: facexlib's detect_faces, without its Python loop over anchors; see tests/parity/test_detect_parity.py.
    """
    height, width = image.shape[:2]
    with exact():
        regression, scores, points = network(to_bgr_minus(image, retinaface.MEAN_BGR, device=device))
        probability = scores[0, :, 1]
        keep = torch.nonzero(probability > threshold)[:, 0]
        anchor = retinaface.anchors(height, width).to(device)[keep]
        boxes = retinaface.decode_boxes(regression[0, keep], anchor).cpu()
        landmarks = retinaface.decode_landmarks(points[0, keep], anchor).cpu()
        best = probability[keep].cpu()
        order = nms(boxes, best, SAME_FACE_IOU)
        return to_array(boxes[order]), to_array(landmarks[order]), to_array(best[order])


def _copy_sizes(long_side: int) -> list[int]:
    """Long sides of the copies to look at, largest first; a picture is not enlarged here."""
    wanted = [FINE_PX, BASE_PX, COARSE_PX]
    # Sizes less than a quarter apart see the same faces.
    smaller = [size for size in wanted if size * 1.25 < long_side]
    bounded = min(long_side, FINE_PX)
    return [bounded, *[size for size in smaller if size * 1.25 < bounded]]


def _bounded(image: FloatImage, source_shape: tuple[int, ...], long_side: int) -> FloatImage:
    height, width = source_shape[:2]
    factor = long_side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.clip(resize(image, *size), 0, 1)


def _may_hold_smaller(found: Sequence[_Seen], long_side: int) -> bool:
    if long_side > BASE_PX:
        return False  # the fine copy was looked at
    return not found or min(seen.face.size_px for seen in found) < SMALL_FACE_PX


def _merged(found: Sequence[_Seen]) -> tuple[Face, ...]:
    if not found:
        return ()
    boxes = torch.tensor([seen.face.box for seen in found])
    ranks = torch.tensor([seen.rank for seen in found])
    return tuple(found[int(i)].face for i in nms(boxes, ranks, SAME_FACE_IOU))
