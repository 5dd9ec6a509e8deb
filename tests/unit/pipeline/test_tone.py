"""Which originals are black-and-white or toned, whatever became of them since; measured on real photos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from pipeline.codec import read
from pipeline.picture import whole
from pipeline.tone import LUMA, is_toned, tone_distance

PHOTOS = {name: getattr(skimage.data, name)().astype(np.float32) / 255 for name in ("astronaut", "coffee", "rocket")}


def luma(image):
    return (image @ LUMA)[:, :, np.newaxis]


def between(image, blacks, whites):
    """A print whose blacks and paper have these colours."""
    return ((1 - luma(image)) * np.array(blacks) + luma(image) * np.array(whites)).astype(np.float32)


def sepia(image):
    grey = luma(image)
    strength = (4 * grey * (1 - grey)) ** 0.7
    return np.clip(grey + np.array([0.10, 0.02, -0.09]) * strength, 0, 1).astype(np.float32)


def grainy(image, amount=0.05):
    return np.clip(image + np.random.default_rng(1).normal(0, amount, image.shape), 0, 1).astype(np.float32)


def as_jpeg(image, quality=30):
    buffer = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.float32) / 255


def faded(image, saturation):
    """A colour print after decades in the sun: less colour, no blacks, yellow."""
    grey = luma(image)
    return ((0.15 + 0.8 * (grey + (image - grey) * saturation)) * np.array([1, 0.93, 0.78])).astype(np.float32)


def tinted(image):
    """A sepia portrait whose cheeks were painted by hand."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    cheeks = sum(np.exp(-(((x / width - at) / 0.06) ** 2) - ((y / height - 0.6) / 0.06) ** 2) for at in (0.35, 0.65))
    return np.clip(sepia(image) + cheeks[:, :, np.newaxis] * np.array([0.18, -0.05, -0.04]), 0, 1).astype(np.float32)


def red_in_the_middle(image):
    """A twelfth of the picture."""
    red = np.zeros_like(image)
    height, width = image.shape[:2]
    red[height // 3 : height * 2 // 3, width // 3 : width * 7 // 12] = 0.12, -0.05, -0.03
    return red


TONED = {
    "black and white": lambda image: between(image, (0, 0, 0), (1, 1, 1)),
    "warm paper": lambda image: between(image, (0.08, 0.075, 0.07), (1, 0.97, 0.92)),
    "cyanotype": lambda image: between(image, (0.02, 0.08, 0.25), (0.93, 0.96, 0.97)),
    "split tone": lambda image: between(image, (0.12, 0.08, 0.14), (0.99, 0.97, 0.86)),
    "sepia": sepia,
    "sepia with grain": lambda image: grainy(sepia(image)),
    "sepia as a poor jpeg": lambda image: as_jpeg(sepia(image)),
    "cyanotype as a poor jpeg": lambda image: as_jpeg(between(image, (0.02, 0.08, 0.25), (0.93, 0.96, 0.97))),
}
COLOURED = {
    "colour": lambda image: image,
    "faded to 60 %": lambda image: faded(image, 0.6),
    "tinted by hand": tinted,
    "grey scene with something red": lambda image: np.clip(luma(image) + red_in_the_middle(image), 0, 1),
}


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("name", TONED)
def test_a_toned_print_is_toned_through_grain_and_compression(name, photo):
    assert is_toned(TONED[name](PHOTOS[photo]))


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_colours_though_faded_or_few(name, photo):
    assert not is_toned(COLOURED[name](PHOTOS[photo]))


#: Of ../shared/photos; looked at.
REALLY_TONED = {
    "aligned_Paris_Hilton_crop.png",
    "facexlib_test.jpg",
    "group_solvay_1927_gray.jpg",
    "old_scratched_b.png",
    "realesrgan_00017_gray.png",
    "realesrgan_wolf_gray.jpg",
    "scan_cmyk_1.jpg",
    "scan_cmyk_2.jpg",
    "scan_exif_orientation_3.jpg",
    "scan_rgba_png_named.jpg",
}


@pytest.mark.shared
def test_real_photos_are_far_from_the_threshold_on_their_side(shared_dir: Path):
    for path in sorted((shared_dir / "photos").iterdir()):
        distance = tone_distance(whole(read(path).picture))
        assert distance < 0.014 if path.name in REALLY_TONED else distance > 0.056, (path.name, distance)


@pytest.mark.shared
def test_real_faces_are_coloured_and_toned_once_their_colour_is_taken(shared_dir: Path):
    faces = sorted((shared_dir / "faces").rglob("*.jpg"))[::25]
    assert len(faces) >= 20
    for path in faces:
        face = whole(read(path).picture)
        assert not is_toned(face), path.name
        assert is_toned(as_jpeg(sepia(face))), path.name
