"""GFPGAN's degradation with the published ranges, and the colours that its training changes.

Source: arXiv 2101.04061, section 4.1, and the order of steps of the seed project's FFHQDegradationDataset: blur,
another size, noise, JPEG, back to size, channels shifted, gray, tone. What differs from ``training.degrade``, which
shares its kernels and its JPEG: ranges come from the options, both axes of a stretched blur are drawn on their own,
and pictures may grow before they shrink back.

Convention: pictures are (H, W, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from pipeline.training.degrade import as_floats, gaussian_kernel, through_jpeg, to_gray
from pipeline.training.gan.options import Degradation
from pipeline.types import FloatImage

#: OpenCV's hue, of float pictures, is in degrees.
TURN_DEG = 360


def spoiled(target: FloatImage, how: Degradation, rng: Generator) -> tuple[FloatImage, FloatImage]:
    """(degraded, target), of the same size; a function of its arguments and the generator's state alone.

    The target is another one only where ``how.gray_targets`` makes it gray.
    """
    height, width = target.shape[:2]
    image = _blurred(target, how, rng)
    down = rng.uniform(*how.down)
    small = max(1, int(width // down)), max(1, int(height // down))
    image = as_floats(cv2.resize(image, small, interpolation=cv2.INTER_LINEAR))
    if how.noise_sigma is not None:
        sigma = np.float32(rng.uniform(*how.noise_sigma) / 255)
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * sigma
    if how.jpeg_quality is not None:
        image = through_jpeg(image, round(rng.uniform(*how.jpeg_quality)))
    image = as_floats(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    if rng.random() < how.shift:
        shift = rng.uniform(-how.shift_levels, how.shift_levels, 3) / 255
        image = np.clip(image + shift.astype(np.float32), 0, 1)
    if rng.random() < how.gray:
        image = to_gray(image)
        target = to_gray(target) if how.gray_targets else target
    if rng.random() < how.tone:
        image = _toned(image, how, rng)
    return np.ascontiguousarray(np.round(image * 255).clip(0, 255) / 255, np.float32), target


def _blurred(image: FloatImage, how: Degradation, rng: Generator) -> FloatImage:
    one, other = rng.uniform(*how.blur_sigma, 2)
    angle = rng.uniform(-math.pi, math.pi)
    if rng.random() < how.isotropic:
        other = one
    kernel = gaussian_kernel(float(one), float(other), float(angle), side=how.kernel_px)
    return as_floats(cv2.filter2D(image, -1, kernel))


def _toned(image: FloatImage, how: Degradation, rng: Generator) -> FloatImage:
    """Brightness, contrast, saturation and hue changed, in random order."""
    changes: list[tuple[tuple[float, float] | None, Callable[[FloatImage, float], FloatImage]]] = [
        (how.brightness, brightened),
        (how.contrast, contrasted),
        (how.saturation, saturated),
        (how.hue, turned),
    ]
    for at in rng.permutation(len(changes)):
        band, change = changes[at]
        if band is not None:
            image = change(image, float(rng.uniform(*band)))
    return image


def brightened(image: FloatImage, factor: float) -> FloatImage:
    """Towards black below 1."""
    return as_floats(np.clip(image * np.float32(factor), 0, 1))


def contrasted(image: FloatImage, factor: float) -> FloatImage:
    """Towards the mean luma below 1."""
    mean = to_gray(image).mean()
    return as_floats(np.clip(mean + (image - mean) * np.float32(factor), 0, 1))


def saturated(image: FloatImage, factor: float) -> FloatImage:
    """Towards gray below 1."""
    gray = to_gray(image)
    return as_floats(np.clip(gray + (image - gray) * np.float32(factor), 0, 1))


def turned(image: FloatImage, turns: float) -> FloatImage:
    """With every hue moved along the colour circle by so many turns."""
    hue, saturation, value = cv2.split(cv2.cvtColor(np.clip(image, 0, 1), cv2.COLOR_RGB2HSV))
    hue = np.mod(hue + np.float32(turns * TURN_DEG), TURN_DEG)
    return as_floats(cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB))
