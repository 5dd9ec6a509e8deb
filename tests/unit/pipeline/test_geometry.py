"""Matrices say what their names say: round trips, resizing, the template."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline import geometry
from pipeline.align import OUTSIDE_RGB, crop, warp
from pipeline.picture import Drawn
from pipeline.resize import resize

#: float64 throughout.
EXACT = 1e-9


def similarity(degrees, scale, x, y):
    turn = np.deg2rad(degrees)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]])


MATRICES = [
    similarity(0, 1, 0, 0),
    similarity(30, 0.3, 100, -20),
    similarity(-170, 5, 3, 4000),
    similarity(90, 1, 7, 9),
]
POINTS = np.array([[0.0, 0.0], [511, 0], [17.5, 300.25], [-40, 9000]])


@pytest.mark.parametrize("matrix", MATRICES)
def test_there_and_back_is_where_it_was(matrix):
    there = geometry.apply(matrix, POINTS)
    assert np.abs(geometry.apply(geometry.invert(matrix), there) - POINTS).max() < 1e-7
    both = geometry.compose(matrix, geometry.invert(matrix))
    assert np.abs(both - np.array([[1, 0, 0], [0, 1, 0]])).max() < EXACT * 1e3


@pytest.mark.parametrize("first", MATRICES)
@pytest.mark.parametrize("then", MATRICES)
def test_composing_is_doing_one_after_the_other(first, then):
    both = geometry.apply(geometry.compose(first, then), POINTS)
    assert np.allclose(both, geometry.apply(then, geometry.apply(first, POINTS)), rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("matrix", MATRICES[1:])
def test_a_turned_and_scaled_template_is_fitted_exactly(matrix):
    source = geometry.apply(geometry.invert(matrix), geometry.FFHQ_TEMPLATE).astype(np.float32)
    fitted = geometry.fit_similarity(source)
    # Landmarks are float32; at 4,000 px their step is 2e-4 px.
    assert np.abs(geometry.apply(fitted, source) - geometry.FFHQ_TEMPLATE).max() < 0.05
    assert geometry.scale_of(fitted) == pytest.approx(geometry.scale_of(matrix), rel=1e-3)


def test_one_landmark_far_off_does_not_tilt_the_face():
    landmarks = geometry.FFHQ_TEMPLATE.astype(np.float32) / 4 + 50
    spoiled = landmarks.copy()
    spoiled[2] += [60, -40]
    good, fitted = geometry.fit_similarity(landmarks), geometry.fit_similarity(spoiled)
    eyes_and_mouth = [0, 1, 3, 4]
    moved = geometry.apply(fitted, landmarks) - geometry.apply(good, landmarks)
    assert np.abs(moved[eyes_and_mouth]).max() < 12


@pytest.mark.parametrize("bad", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_landmarks_that_are_no_face_have_no_fit(bad):
    assert geometry.fit_similarity(bad.astype(np.float32)) is None


@pytest.mark.parametrize(("size", "output"), [((100, 60), (200, 120)), ((101, 33), (152, 50))])
def test_source_to_output_is_where_resizing_puts_a_pixel(size, output):
    """A bright dot, resized, has its centre of mass where the matrix says."""
    picture = np.zeros((size[1], size[0]), np.float32)
    picture[20, 40] = 1
    large = resize(picture, *output)
    y, x = np.mgrid[0 : output[1], 0 : output[0]]
    centre = np.array([(large * x).sum(), (large * y).sum()]) / large.sum()
    expected = geometry.apply(geometry.source_to_output(size, output), np.array([[40.0, 20.0]]))[0]
    assert np.abs(centre - expected).max() < 0.05


@pytest.mark.parametrize(
    ("width", "height", "scale", "expected"),
    [(100, 50, 2, (200, 100)), (3, 3, 1.5, (5, 5)), (101, 7, 1.25, (126, 9)), (1, 1, 1, (1, 1))],
)
def test_output_sizes_round_halves_up(width, height, scale, expected):
    assert geometry.output_size(width, height, scale) == expected


def test_a_crop_beyond_the_picture_is_grey_there_and_right_elsewhere():
    image = np.full((100, 100, 3), 0.9, np.float32)
    cut = crop(Drawn(image), similarity(0, 2, 256, 0))
    assert np.allclose(cut[100, 300], 0.9, atol=1e-5)
    assert np.allclose(cut[100, 100], OUTSIDE_RGB, atol=1e-5)
    assert np.allclose(crop(Drawn(image), similarity(0, 1, 5000, 5000)), OUTSIDE_RGB)


def test_a_crop_reads_only_its_region_of_a_huge_picture():
    """40,000 px are more than OpenCV warps; the picture is a view that takes no memory."""
    image = np.lib.stride_tricks.as_strided(np.full(3, 0.25, np.float32), (40_000, 40_000, 3), (0, 0, 4))
    cut = crop(Drawn(image), similarity(0, 0.2, -7000, -7000))
    assert cut.shape == (512, 512, 3)
    assert np.allclose(cut, 0.25)


def test_a_crop_equals_opencvs_warp_of_the_whole_picture():
    image = np.random.default_rng(0).random((300, 400, 3), dtype=np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    matrix = similarity(20, 2.3, -250, -200)
    expected = cv2.warpAffine(image, matrix, (512, 512), borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE_RGB)
    assert np.abs(crop(Drawn(image), matrix) - expected).max() < 2 / 255


def test_shrinking_warps_do_not_alias():
    image = (np.indices((800, 800)).sum(axis=0) % 2).astype(np.float32)
    small = warp(image, similarity(0, 1 / 8, 0, 0), (100, 100))
    assert np.abs(small[5:-5, 5:-5] - 0.5).max() < 0.02


def test_inputs_are_not_written_to():
    image = np.random.default_rng(0).random((50, 60, 3), dtype=np.float32)
    matrix = similarity(20, 2.3, -50, -20)
    image.setflags(write=False)
    matrix.setflags(write=False)
    crop(Drawn(image), matrix)
    geometry.invert(matrix)
    geometry.fit_similarity(np.array(geometry.FFHQ_TEMPLATE, np.float32))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_picture_s_pixels_are_found_where_they_came_from(turns):
    picture = np.arange(5 * 7).reshape(5, 7)
    turned = np.rot90(picture, turns)
    y, x = np.indices(turned.shape)
    back = geometry.apply(geometry.turned_back(turns, 7, 5), np.stack([x.ravel(), y.ravel()], axis=1))
    assert np.array_equal(picture[back[:, 1].astype(int), back[:, 0].astype(int)], turned.ravel())
