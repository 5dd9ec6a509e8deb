"""Pictures without faces: drawn ones, and parts of photographs that hold none.

Convention: (H, W, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.errors import UnreadableImage
from pipeline.training.degrade import as_floats
from pipeline.types import FloatImage

#: Pictures that come inside scikit-image's wheel, show no face and serve as training background.
TRAINING_PICTURES = (
    "motorcycle_left.png", "motorcycle_right.png", "ihc.png", "cell.png", "color.png", "horse.png", "logo.png",
    "microaneurysms.png", "phantom.png", "retina.jpg", "text.png", "chessboard_GRAY.png",
)  # fmt: skip
#: Others from there, held out: the detector's false alarms are counted on them.
EVALUATION_PICTURES = (
    "chelsea.png", "coffee.png", "rocket.jpg", "page.png", "clock_motion.png", "brick.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "moon.png",
)  # fmt: skip


def picture_folder() -> Path:
    """Where scikit-image keeps the pictures of its wheel."""
    import skimage.data  # noqa: PLC0415  (of the `local` extra; only training and its tests need it)

    return Path(skimage.data.__file__).parent


def read_pictures(paths: list[Path]) -> tuple[NDArray[np.uint8], ...]:
    """8-bit RGB pictures, in the order of ``paths``.

    Raises:
        UnreadableImage: one of them is missing or no picture.
    """
    pictures = []
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise UnreadableImage(f"{path} is missing or no picture")
        pictures.append(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
    return tuple(pictures)


def background(rng: Generator, side: int, pictures: tuple[NDArray[np.uint8], ...]) -> FloatImage:
    """A square without a face: two in five drawn, the others a part of a picture."""
    if not pictures or rng.random() < 0.4:
        return drawn(rng, side)
    return picture_part(rng, side, pictures)


def picture_part(rng: Generator, side: int, pictures: tuple[NDArray[np.uint8], ...]) -> FloatImage:
    """A random part of a random picture at a random scale, turned, mirrored and recoloured."""
    picture = pictures[int(rng.integers(len(pictures)))]
    height, width = picture.shape[:2]
    part = int(min(height, width) * rng.uniform(0.15, 1))
    y, x = int(rng.integers(0, height - part + 1)), int(rng.integers(0, width - part + 1))
    taken = np.rot90(picture[y : y + part, x : x + part], int(rng.integers(4)))
    if rng.random() < 0.5:
        taken = taken[:, ::-1]
    if rng.random() < 0.4:
        taken = taken[:, :, rng.permutation(3)]
    how = cv2.INTER_AREA if part > side else cv2.INTER_LINEAR
    return as_floats(cv2.resize(np.ascontiguousarray(taken), (side, side), interpolation=how)) / np.float32(255)


def drawn(rng: Generator, side: int) -> FloatImage:
    """Clouds of noise at several scales with shapes, lines and letters over them."""
    canvas = (clouds(rng, side) * 255).astype(np.uint8)  # OpenCV writes letters on 8 bits only
    for _ in range(int(rng.integers(0, 14))):
        _draw_shape(rng, canvas)
    image = as_floats(canvas) / np.float32(255)
    if rng.random() < 0.3:
        image = as_floats(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 6)))
    return image


def clouds(rng: Generator, side: int) -> FloatImage:
    """Smooth random colour with detail that falls off with its scale."""
    image = np.empty((side, side, 3), np.float32)
    image[:] = rng.uniform(0.05, 0.95, 3)
    cells, amplitude = 2, rng.uniform(0.05, 0.35)
    while cells < side:
        noise = rng.standard_normal((cells, cells, 3 if rng.random() < 0.5 else 1), dtype=np.float32)
        layer = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, -1)
        image += layer * np.float32(amplitude)
        cells, amplitude = cells * 2, amplitude * rng.uniform(0.35, 0.9)
    return np.clip(image, 0, 1)


def _draw_shape(rng: Generator, image: NDArray[np.uint8]) -> None:
    """Draws one shape into ``image``."""
    side = image.shape[0]
    colour = tuple(float(v) for v in rng.uniform(0, 255, 3))
    x, y, u, v = (int(n) for n in rng.integers(0, side, 4))
    thick = -1 if rng.random() < 0.5 else int(rng.integers(1, 1 + max(2, side // 30)))
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.rectangle(image, (x, y), (u, v), colour, thick)
    elif kind == 1:
        axes = (1 + abs(u - x) // 3, 1 + abs(v - y) // 3)
        cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, float(rng.uniform(90, 360)), colour, thick)
    elif kind == 2:
        cv2.line(image, (x, y), (u, v), colour, abs(thick), cv2.LINE_AA)
    elif kind == 3:
        corners = rng.integers(0, side, (int(rng.integers(3, 7)), 2)).astype(np.int32)
        cv2.fillPoly(image, [corners], colour)
    else:
        letters = "".join(chr(int(c)) for c in rng.integers(33, 127, int(rng.integers(1, 12))))
        size = float(rng.uniform(0.3, 3))
        cv2.putText(image, letters, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, int(rng.integers(1, 5)))
