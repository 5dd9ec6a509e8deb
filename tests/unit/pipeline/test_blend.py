"""Pasting touches the face's region only, mutates nothing, and is exact at both ends of strength."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from pipeline import blend
from pipeline.composite import Composite
from pipeline.geometry import CROP_PX, enlarge
from pipeline.picture import Drawn
from tests.unit.pipeline.canvases import painted, pasted

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
    pasted(canvas, (patch, patch))


def test_pasting_twice_gives_the_same_twice(canvas, patch):
    """facexlib moves its matrices by a pixel at each paste."""
    assert np.array_equal(pasted(canvas, (patch,))[0], pasted(canvas, (patch,))[0])


def test_only_the_region_is_touched_and_changed_says_where(canvas, patch):
    result, changed = pasted(canvas, (patch,))
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
    steps = [pasted(canvas, (dataclasses.replace(patch, strength=s),))[0] for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert np.array_equal(steps[0], canvas)
    distance = [np.abs(step - canvas) for step in steps]
    for weaker, stronger in itertools.pairwise(distance):
        assert (stronger >= weaker - 1e-6).all()
    assert np.abs(distance[2] - distance[4] / 2).max() < 1e-5


def test_a_face_beyond_the_edge_is_pasted_where_it_is_seen(canvas, patch):
    half_out = dataclasses.replace(patch, crop_to_output=np.array([[0.2, 0, -50.0], [0, 0.2, -40.0]]))
    _, changed = pasted(canvas, (half_out,))
    assert changed[0, 0] > 0.9
    assert changed[80:, 80:].max() == 0
    outside = dataclasses.replace(patch, crop_to_output=np.array([[0.2, 0, -500.0], [0, 0.2, 0]]))
    assert np.array_equal(pasted(canvas, (outside,))[0], canvas)


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
    assert np.abs(matched - before)[mask > 0].max() < 0.01
    assert np.allclose(blend.match_colour(before, before, mask), before, atol=1e-6)
    cheeks = tinted.copy()
    cheeks[200:300, 200:300, 0] += 0.1
    assert np.abs(blend.match_colour(before, cheeks, mask) - matched - (cheeks - tinted)).max() < 0.01
    # No more than a tint is taken away: a face that is much lighter stays so.
    lighter = np.clip(before + 0.2, 0, 1)
    assert (blend.match_colour(before, lighter, mask) - before)[200:300, 200:300].min() > 0.1
    # Where a colour is wanted, it only fades towards the seam.
    kept = blend.match_colour(before, tinted, mask, limit=0)
    assert np.abs(kept - before)[seam].max() < 0.005
    assert np.abs(kept - tinted)[200:300, 200:300].max() < 0.005


def test_a_colour_gap_kept_small_shows_what_a_matched_face_shows(canvas, patch):
    before, after = smooth(4) * 0.5 + 0.25, smooth(4) * 0.5 + np.array([0.29, 0.22, 0.27], np.float32)
    plain = dataclasses.replace(patch, before=before, after=after.astype(np.float32))
    whole = dataclasses.replace(plain, after=blend.match_colour(before, plain.after, patch.mask))
    small = dataclasses.replace(plain, gap=blend.colour_gap(before, plain.after, patch.mask))
    # Also where the face is shrunk so much that it is averaged first.
    for matrix in (CROP_TO_OUTPUT, CROP_TO_OUTPUT * 2.5, enlarge(0.7, 0.7)):
        expected, got, unmatched = (
            pasted(canvas, (dataclasses.replace(one, crop_to_output=matrix),))[0] for one in (whole, small, plain)
        )
        assert np.abs(got - expected).max() < 0.5 / 255
        assert np.abs(unmatched - expected).max() > 5 / 255


def test_a_grey_canvas_stays_exactly_grey(canvas, patch):
    grey = np.repeat(canvas[:, :, :1], 3, axis=2)
    result, _ = pasted(grey, (dataclasses.replace(patch, lightness_only=True),))
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
    kept = pasted(canvas, (large,))[0][middle]
    lost = pasted(canvas, (dataclasses.replace(large, source_px_per_crop_px=0.9),))[0][middle]
    assert kept.std() == pytest.approx(0.1, abs=0.005)
    assert kept.mean() == pytest.approx(0.6, abs=0.005)
    assert lost.std() < 0.005


def test_a_whole_picture_is_replaced_without_a_border(patch):
    replaced = Composite(Drawn(smooth(5, (1024, 1024))), (1024, 1024), faces=[blend.Replacement(patch, 1024, 1024)])
    band = painted(replaced)
    assert band.changed.min() == 1
    assert np.abs(band.image[0, 0] - patch.after[0, 0]).max() < 0.05
