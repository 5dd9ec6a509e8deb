"""The aligned faces of a data folder, and the restorer's training pairs made from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from pipeline.errors import UnreadableImage
from pipeline.training.ageing import toned, worn
from pipeline.training.degrade import GRAY_SHARE, TONED_SHARE, Degradation, degrade, sample, to_gray
from pipeline.types import FloatImage

#: Side of an aligned face. Source: the FFHQ template that GFPGAN's crops use.
FACE_PX = 512


class Faces:
    """The pictures of ``folder``, sorted by name; the coded bytes are kept in memory, pixels are decoded when asked."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UnreadableImage(f"{folder} is not there; the data folder holds faces/train, faces/val and weights")
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        if not paths:
            raise UnreadableImage(f"no pictures in {folder}")
        self.names = tuple(p.name for p in paths)
        self._coded = tuple(np.fromfile(p, np.uint8) for p in paths)

    def __len__(self) -> int:
        return len(self._coded)

    def __getitem__(self, index: int) -> FloatImage:
        """Face ``index``: (512, 512, 3) float32 RGB in [0, 1].

        Raises:
            UnreadableImage: the file is not a picture of that size.
        """
        pixels = cv2.imdecode(self._coded[index], cv2.IMREAD_COLOR)
        if pixels is None or pixels.shape != (FACE_PX, FACE_PX, 3):
            raise UnreadableImage(f"{self.names[index]} is not a {FACE_PX} x {FACE_PX} picture")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32) * np.float32(1 / 255)


def training_pair(faces: Faces, *, rng: Generator, crop_px: int) -> tuple[FloatImage, FloatImage]:
    """(degraded, target), each (crop_px, crop_px, 3): a random part of a random face, mirrored half of the time."""
    face = faces[int(rng.integers(len(faces)))]
    x, y = rng.integers(0, FACE_PX - crop_px + 1, 2)
    target = face[y : y + crop_px, x : x + crop_px]
    if rng.random() < 0.5:
        target = target[:, ::-1]
    gain, gamma = rng.uniform(0.8, 1.15), rng.uniform(0.8, 1.25)
    target = np.clip(np.ascontiguousarray(target) ** np.float32(gamma) * np.float32(gain), 0, 1)
    tone = rng.random()
    if tone < GRAY_SHARE:
        target = to_gray(target)
    elif tone < GRAY_SHARE + TONED_SHARE:
        target = toned(target, rng)
    return degrade(worn(target, rng), sample(rng), rng), target


def training_batch(faces: Faces, *, seed: int, step: int, size: int, crop_px: int) -> tuple[Tensor, Tensor]:
    """(degraded, target), each (size, 3, crop_px, crop_px) in [0, 1]; a function of its arguments alone."""
    pairs = [training_pair(faces, rng=default_rng([seed, step, place]), crop_px=crop_px) for place in range(size)]
    return to_batch([p[0] for p in pairs]), to_batch([p[1] for p in pairs])


def evaluation_pair(faces: Faces, index: int, how: Degradation, *, seed: int) -> tuple[FloatImage, FloatImage]:
    """(degraded, original) of one whole face at a named severity; a function of its arguments alone."""
    original = faces[index]
    return degrade(original, how, default_rng([seed, index])), original


def to_batch(images: list[FloatImage]) -> Tensor:
    """(N, 3, H, W) from N pictures (H, W, 3), channels last in memory."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.contiguous(memory_format=torch.channels_last)
