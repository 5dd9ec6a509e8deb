"""Pasting touches the face's region only, mutates nothing, and is exact at both ends of strength."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from pipeline import blend
from pipeline.geometry import CROP_PX, enlarge

CROP_TO_OUTPUT = np.array([[0.2, 0.03, 60.0], [-0.03, 0.2, 40.0]])


def smooth(seed, size=(CROP_PX, CROP_PX)):
    import cv2

    noise = np.random.default_rng(seed).random((size[0] // 16, size[1] // 16, 3), dtype=np.float32)
    return np.clip(cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), 0, 1).astype(np.float32)


@pytest.fixture
def canvas():
    return smooth(1, (192, 256))


@pytest.fixture
def patch():
    return blend.Patch(
        before=smooth(2),
        after=smooth(3),
        mask=blend.feathered_square(),
        crop_to_output=CROP_TO_OUTPUT,
        source_px_per_crop_px=0.2,
    )


def test_nothing_that_is_given_is_written_to(canvas, patch):
    for array in (canvas, patch.before, patch.after, patch.crop_to_output):
        array.setflags(write=False)
    blend.paste(canvas, (patch, patch))


def test_pasting_twice_gives_the_same_twice(canvas, patch):
    """facexlib moves its matrices by a pixel at each paste."""
    assert np.array_equal(blend.paste(canvas, (patch,))[0], blend.paste(canvas, (patch,))[0])


def test_only_the_region_is_touched_and_changed_says_where(canvas, patch):
    result, changed = blend.paste(canvas, (patch,))
    touched = (result != canvas).any(axis=2)
    assert touched.any()
    assert not touched[changed == 0].any()
    x = np.nonzero(changed)[1]
    # The crop is 102 px wide in the output, around (111, 84).
    assert x.min() > 55
    assert x.max() < 180
    assert (changed > 0).mean() < 0.3
    assert 0.999 < changed.max() <= 1


def test_strength_zero_is_exact_and_in_between_it_is_monotone(canvas, patch):
    steps = [blend.paste(canvas, (dataclasses.replace(patch, strength=s),))[0] for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert np.array_equal(steps[0], canvas)
    distance = [np.abs(step - canvas) for step in steps]
    for weaker, stronger in itertools.pairwise(distance):
        assert (stronger >= weaker - 1e-6).all()
    assert np.abs(distance[2] - distance[4] / 2).max() < 1e-5


def test_a_face_beyond_the_edge_is_pasted_where_it_is_seen(canvas, patch):
    half_out = dataclasses.replace(patch, crop_to_output=np.array([[0.2, 0, -50.0], [0, 0.2, -40.0]]))
    _, changed = blend.paste(canvas, (half_out,))
    assert changed[0, 0] > 0.9
    assert changed[80:, 80:].max() == 0
    outside = dataclasses.replace(patch, crop_to_output=np.array([[0.2, 0, -500.0], [0, 0.2, 0]]))
    assert np.array_equal(blend.paste(canvas, (outside,))[0], canvas)


def test_the_mask_has_no_visible_edge():
    mask = blend.feathered_square()
    assert mask[0].max() == mask[:, -1].max() == 0
    assert mask[256, 256] == 1
    assert np.abs(np.diff(mask, axis=0)).max() < 0.04


def test_colour_is_matched_at_the_seam_and_features_stay():
    before, mask = smooth(4) * 0.5 + 0.25, blend.feathered_square()
    tinted = before + np.array([0.04, -0.03, 0.02], np.float32)
    matched = blend.match_colour(before, tinted.astype(np.float32), mask)
    seam = (mask > 0.3) & (mask < 0.7)
    assert np.abs(matched - before)[seam].max() < 0.005
    assert np.allclose(blend.match_colour(before, before, mask), before, atol=1e-6)
    # No more than a tint is taken away: a face that is much lighter stays so.
    lighter = np.clip(before + 0.2, 0, 1)
    assert (blend.match_colour(before, lighter, mask) - before)[200:300, 200:300].min() > 0.1


def test_a_grey_canvas_stays_exactly_grey(canvas, patch):
    grey = np.repeat(canvas[:, :, :1], 3, axis=2)
    result, _ = blend.paste(grey, (dataclasses.replace(patch, lightness_only=True),))
    assert not np.array_equal(result, grey)
    assert np.array_equal(result[:, :, 0], result[:, :, 1])
    assert np.array_equal(result[:, :, 0], result[:, :, 2])


def test_a_face_larger_than_the_crop_keeps_its_own_fine_detail():
    """A 1,500 px face with one-pixel texture: the crop cannot hold it, the result still has it."""
    texture = (np.indices((1600, 1600)).sum(axis=0) % 2 * 0.2 - 0.1).astype(np.float32)[:, :, None]
    canvas = np.full((1600, 1600, 3), 0.5, np.float32) + texture
    flat = np.full((CROP_PX, CROP_PX, 3), 0.5, np.float32)
    large = blend.Patch(
        before=flat,
        after=flat + 0.1,
        mask=blend.feathered_square(),
        crop_to_output=enlarge(3, 3),
        source_px_per_crop_px=3.0,
    )
    middle = (slice(700, 800), slice(700, 800))
    kept = blend.paste(canvas, (large,))[0][middle]
    lost = blend.paste(canvas, (dataclasses.replace(large, source_px_per_crop_px=0.9),))[0][middle]
    assert kept.std() == pytest.approx(0.1, abs=0.005)
    assert kept.mean() == pytest.approx(0.6, abs=0.005)
    assert lost.std() < 0.005


def test_a_whole_picture_is_replaced_without_a_border(patch):
    canvas, changed = smooth(5, (1024, 1024)), np.zeros((1024, 1024), np.float32)
    blend.replace_whole(canvas, changed, patch)
    assert changed.min() == 1
    assert np.abs(canvas[0, 0] - patch.after[0, 0]).max() < 0.05
