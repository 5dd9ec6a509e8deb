"""What a camera, a printer and time leave on pictures: tones, scratches, dust, halftone, grain, blur, compression.

Convention: pictures are (H, W, 3) float32 RGB in [0, 1]; every function returns a new one and draws from its generator
alone.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from pipeline.training.degrade import Degradation, as_floats, degrade, to_gray
from pipeline.types import FloatImage

#: Colour of a sepia print's white, of full luma.
SEPIA = np.array([1.0, 0.86, 0.66], np.float32)
#: How often a face's crop is worn besides blur, noise and JPEG, and how often each kind of wear then is there.
WORN_SHARE, HALFTONE_SHARE, GRAIN_SHARE, SCRATCH_SHARE, DUST_SHARE = 0.4, 0.25, 0.4, 0.4, 0.35
#: Distance (px) of a printer's dots, and how much of the picture they are.
HALFTONE_PX, HALFTONE_AMOUNT = (2.6, 6.5), (0.25, 0.9)
#: Screen angles (degrees) that black and white printing uses most.
SCREEN_ANGLES_DEG = (0.0, 15.0, 45.0, 75.0)
#: Grain: standard deviation (grey levels of 255) and size (px, sigma).
GRAIN_LEVELS, GRAIN_PX = (4.0, 16.0), (0.5, 1.6)
#: A scene's blur (sigma) and down-sampling reach as far as one part in so many of its smallest face, at least these.
FACE_PX_PER_BLUR, LEAST_BLUR, LEAST_DOWN = 75.0, 1.6, 2.2


def aged(canvas: FloatImage, rng: Generator, *, smallest_px: float = 0.0) -> FloatImage:
    """A whole picture, grown old at random; ``smallest_px``: its smallest face, 0 = none or unknown.

    Large faces may lose far more than small ones before nothing is left to find.
    """
    tone = rng.random()
    if tone < 0.22:
        canvas = to_gray(canvas)
    elif tone < 0.32:
        canvas = to_gray(canvas) * SEPIA
    elif tone < 0.5:
        canvas = canvas * rng.uniform(0.8, 1.1, 3).astype(np.float32)
    canvas = np.clip(canvas, 0, 1)
    if rng.random() < 0.12:
        canvas = scratched(canvas, rng)
    if rng.random() < 0.1:
        canvas = halftoned(canvas, rng) if rng.random() < 0.4 else grainy(canvas, rng)
    if rng.random() < 0.55:
        reach = smallest_px / FACE_PX_PER_BLUR
        how = Degradation(
            blur_sigma=float(rng.uniform(0, max(LEAST_BLUR, reach))),
            down=float(rng.uniform(1, max(LEAST_DOWN, reach))),
            noise_sigma=float(rng.uniform(0, 14)),
            jpeg_quality=int(rng.integers(40, 101)),
        )
        canvas = degrade(canvas, how, rng)
    return canvas


def toned(face: FloatImage, rng: Generator) -> FloatImage:
    """The tone of an old print, which is kept when the face is mended: sepia, a cast, or faded contrast."""
    kind = rng.random()
    if kind < 0.35:
        face = to_gray(face) * (SEPIA + (1 - SEPIA) * np.float32(rng.uniform(0, 0.7)))
    elif kind < 0.6:
        face = face * rng.uniform(0.78, 1.05, 3).astype(np.float32)
    if rng.random() < 0.6:
        black, white = rng.uniform(0.0, 0.25), rng.uniform(0.72, 1.0)
        face = face * np.float32(white - black) + np.float32(black)
    return np.clip(face, 0, 1)


def worn(face: FloatImage, rng: Generator) -> FloatImage:
    """What is to be mended besides blur, noise and compression: in two crops of five, one or more kinds of wear."""
    if rng.random() >= WORN_SHARE:
        return face
    kinds = (halftoned, grainy, scratched, dusty)
    shares = (HALFTONE_SHARE, GRAIN_SHARE, SCRATCH_SHARE, DUST_SHARE)
    for wear, share in zip(kinds, shares, strict=True):
        if rng.random() < share:
            face = wear(face, rng)
    return face


def halftoned(image: FloatImage, rng: Generator) -> FloatImage:
    """Printed as dots whose size follows the brightness, seen a little out of focus."""
    height, width = image.shape[:2]
    angle = np.deg2rad(rng.choice(SCREEN_ANGLES_DEG) + rng.uniform(-3, 3))
    pace = 2 * np.pi / rng.uniform(*HALFTONE_PX)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    screen = 0.5 + 0.25 * (np.cos(pace * u) + np.cos(pace * v))
    edge = rng.uniform(3, 9)  # how hard the dots' rims are
    dots = 1 / (1 + np.exp(-edge * (image - screen[:, :, None])))
    amount = np.float32(rng.uniform(*HALFTONE_AMOUNT))
    return as_floats(np.clip(image + (dots - image) * amount, 0, 1))


def grainy(image: FloatImage, rng: Generator) -> FloatImage:
    """Film grain: noise with a size, mostly the same in all channels."""
    channels = 1 if rng.random() < 0.75 else 3
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    soft = as_floats(cv2.GaussianBlur(noise, (0, 0), rng.uniform(*GRAIN_PX))).reshape(noise.shape)
    level = np.float32(rng.uniform(*GRAIN_LEVELS) / 255)
    return as_floats(np.clip(image + soft * (level / max(float(soft.std()), 1e-6)), 0, 1))


def scratched(image: FloatImage, rng: Generator) -> FloatImage:
    """Bright or dark lines across the picture, most of them nearly straight and not quite opaque."""
    side = max(image.shape[:2])
    mask = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 6))):
        start, end = rng.uniform(-0.1, 1.1, 2) * side, rng.uniform(-0.1, 1.1, 2) * side
        bend = rng.normal(0, 0.04 * side, 2)
        along = np.linspace(0, 1, 12)[:, None]
        line = start + (end - start) * along + bend * np.sin(np.pi * along) + rng.normal(0, 0.003 * side, (12, 2))
        points = np.round(line).astype(np.int32)
        cv2.polylines(mask, [points], False, float(rng.uniform(0.4, 1)), int(rng.integers(1, 4)), cv2.LINE_AA)
    return _covered(image, mask, rng)


def dusty(image: FloatImage, rng: Generator) -> FloatImage:
    """Specks and short hairs."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(2, 30))):
        place = int(rng.integers(width)), int(rng.integers(height))
        axes = 1 + int(rng.exponential(1.2)), 1 + int(rng.exponential(0.8))
        cv2.ellipse(mask, place, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.4, 1)), -1, cv2.LINE_AA)
    return _covered(image, mask, rng)


def _covered(image: FloatImage, mask: FloatImage, rng: Generator) -> FloatImage:
    """The picture under a coat of one shade, white more often than black, soft at its rims."""
    soft = as_floats(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 0.9)))[:, :, None]
    shade = np.float32(rng.uniform(0.8, 1.0) if rng.random() < 0.7 else rng.uniform(0.0, 0.2))
    return as_floats(image + (shade - image) * soft)
