"""GFPGAN's degradation model: blur, down-sampling, noise, JPEG, back to size.

Source: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior", arXiv 2101.04061,
section 4.1: ``x = [((y * k) down r) + n] JPEG q``, resized back; k is an isotropic or anisotropic Gaussian.

Convention: pictures are (H, W, 3) float32 RGB in [0, 1]; sigmas of the blur are in pixels of the full-size crop,
those of the noise in 8-bit grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.types import FloatImage

#: Side of the anisotropic kernel. Source: GFPGAN's published training options (blur_kernel_size 41).
KERNEL_PX = 41
#: Narrower axis of an anisotropic kernel as a fraction of the wider one.
NARROWEST = 0.4
#: Blurs narrower than this change nothing visible and are left out.
NO_BLUR = 0.15
#: Shares of grey, and of sepia, tinted or faded pictures among the training samples: old photos often are.
GRAY_SHARE, TONED_SHARE = 0.18, 0.12


class Severity(StrEnum):
    """Named degradations, at which figures are published."""

    LIGHT = "light"
    MEDIUM = "medium"
    SEVERE = "severe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How a picture is spoiled."""

    blur_sigma: float  #: px
    down: float  #: factor, 1 = none
    noise_sigma: float  #: grey levels of 255
    jpeg_quality: int  #: 0 to 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A range of degradations that training draws from, uniformly in each direction."""

    share: float  #: of the samples
    blur_sigma: tuple[float, float]
    down: tuple[float, float]
    noise_sigma: tuple[float, float]
    jpeg_quality: tuple[int, int]


#: What figures are published at. Source: docs/reference, "Training a compact restorer", the trials' severities.
SEVERITIES = {
    Severity.LIGHT: Degradation(blur_sigma=2, down=2, noise_sigma=4, jpeg_quality=90),
    Severity.MEDIUM: Degradation(blur_sigma=4, down=4, noise_sigma=8, jpeg_quality=80),
    Severity.SEVERE: Degradation(blur_sigma=6, down=8, noise_sigma=15, jpeg_quality=60),
}

#: The training mix. The first band has the largest share: a restorer that saw mostly severe input harms light input.
MIX = (
    Band(share=0.42, blur_sigma=(0, 2.6), down=(1, 2.6), noise_sigma=(0, 6), jpeg_quality=(75, 100)),
    Band(share=0.36, blur_sigma=(1.5, 5), down=(2, 5), noise_sigma=(2, 11), jpeg_quality=(65, 95)),
    Band(share=0.22, blur_sigma=(3, 9), down=(4, 10), noise_sigma=(4, 20), jpeg_quality=(45, 85)),
)


def sample(rng: Generator) -> Degradation:
    """One degradation of the training mix."""
    band = MIX[rng.choice(len(MIX), p=[b.share for b in MIX])]
    return Degradation(
        blur_sigma=float(rng.uniform(*band.blur_sigma)),
        down=float(rng.uniform(*band.down)),
        noise_sigma=float(rng.uniform(*band.noise_sigma)),
        jpeg_quality=int(rng.integers(band.jpeg_quality[0], band.jpeg_quality[1] + 1)),
    )


def degrade(image: FloatImage, how: Degradation, rng: Generator) -> FloatImage:
    """The spoiled picture at its old size; the same for the same generator state.

    Convention: (H, W, 3) float32 RGB in [0, 1], in and out; the output holds 8-bit values, as a decoded JPEG does.
    """
    height, width = image.shape[:2]
    blurred = _blur(image, how.blur_sigma, rng)
    small = (max(1, round(width / how.down)), max(1, round(height / how.down)))
    shrunk = cv2.resize(blurred, small, interpolation=cv2.INTER_LINEAR)
    noisy = shrunk + rng.standard_normal(shrunk.shape, dtype=np.float32) * np.float32(how.noise_sigma / 255)
    coded = through_jpeg(noisy, how.jpeg_quality)
    back = cv2.resize(coded, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.round(back * 255).clip(0, 255) / 255, dtype=np.float32)


def to_gray(image: FloatImage) -> FloatImage:
    """The picture's luma in all three channels."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _blur(image: FloatImage, sigma: float, rng: Generator) -> FloatImage:
    isotropic = rng.random() < 0.5
    narrow = sigma * rng.uniform(NARROWEST, 1)
    angle = rng.uniform(0, np.pi)
    if sigma < NO_BLUR:
        return image
    if isotropic:
        # The separable form of the same kernel; several times faster.
        return np.asarray(cv2.GaussianBlur(image, (KERNEL_PX, KERNEL_PX), sigma), np.float32)
    return np.asarray(cv2.filter2D(image, -1, gaussian_kernel(sigma, narrow, angle)), np.float32)


def gaussian_kernel(wide: float, narrow: float, angle: float, *, side: int = KERNEL_PX) -> NDArray[np.float32]:
    """A rotated Gaussian of unit sum, (side, side)."""
    reach = side // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / wide) ** 2 + (across / max(narrow, NO_BLUR)) ** 2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def as_floats(values: Any) -> NDArray[np.float32]:
    """The array as float32; OpenCV's own annotations promise no element type."""
    return np.asarray(values, np.float32)


def through_jpeg(image: FloatImage, quality: int) -> FloatImage:
    """The picture as a JPEG file of this quality keeps it."""
    pixels = np.round(image * 255).clip(0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return as_floats(decoded)[:, :, ::-1] / np.float32(255)
