"""Whole pictures as a camera, a printer and time leave them: tones, scratches, blur, grain, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from pipeline.training.degrade import Degradation, degrade, to_gray
from pipeline.types import FloatImage


def aged(canvas: FloatImage, rng: Generator) -> FloatImage:
    """A copy of the picture (S, S, 3) RGB in [0, 1], grown old at random."""
    tone = rng.random()
    if tone < 0.22:
        canvas = to_gray(canvas)
    elif tone < 0.32:
        canvas = to_gray(canvas) * np.array([1.0, 0.86, 0.66], np.float32)
    elif tone < 0.5:
        canvas = canvas * rng.uniform(0.8, 1.1, 3).astype(np.float32)
    canvas = np.clip(canvas, 0, 1)
    if rng.random() < 0.12:
        canvas = _scratch(canvas, rng)
    if rng.random() < 0.55:
        how = Degradation(
            blur_sigma=float(rng.uniform(0, 1.6)),
            down=float(rng.uniform(1, 2.2)),
            noise_sigma=float(rng.uniform(0, 14)),
            jpeg_quality=int(rng.integers(40, 101)),
        )
        canvas = degrade(canvas, how, rng)
    return canvas


def _scratch(canvas: FloatImage, rng: Generator) -> FloatImage:
    drawn, side = canvas.copy(), canvas.shape[0]
    for _ in range(int(rng.integers(1, 6))):
        x, y, u, v = (int(n) for n in rng.integers(0, side, 4))
        shade = float(rng.choice([0.05, 0.95]))
        cv2.line(drawn, (x, y), (u, v), (shade, shade, shade), int(rng.integers(1, 3)), cv2.LINE_AA)
    return drawn
