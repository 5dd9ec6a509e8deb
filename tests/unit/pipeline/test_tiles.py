"""Tiles cover the picture once, and a local operation done by tiles is the operation done at once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline import tiles
from pipeline.picture import Drawn


@pytest.mark.parametrize("height", [1, 5, 64, 65, 200])
@pytest.mark.parametrize("width", [1, 63, 130])
@pytest.mark.parametrize("overlap", [0, 3, 40])
@pytest.mark.parametrize("step", [1, 2])
def test_the_weights_of_all_tiles_sum_to_one_everywhere(height, width, overlap, step):
    plan = tiles.plan(height, width, tile_px=64, overlap_px=overlap, step=step)
    canvas = np.zeros((tiles.padded(height, step) * 2, tiles.padded(width, step) * 2, 1), np.float32)
    for tile in plan:
        rows, columns = tile.source
        ones = np.ones(((rows.stop - rows.start) * 2, (columns.stop - columns.start) * 2, 1), np.float32)
        tiles.add_tile(canvas, ones, tile, scale=2)
    assert np.abs(canvas - 1).max() < 1e-6


def blurred(image):
    """An operation that sees 6 px far, at twice the size."""
    large = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    return cv2.blur(large, (25, 25), borderType=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("shape", [(150, 97), (64, 64), (10, 200), (1, 1)])
def test_a_local_operation_by_tiles_is_the_same_operation(shape):
    image = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    # 6 px of view, the fade's quarter on top: (1 - FADE_PART) * 9 > 6.
    canvas = np.zeros((shape[0] * 2, shape[1] * 2, 3), np.float32)
    for tile in tiles.plan(*shape, tile_px=32, overlap_px=9):
        tiles.add_tile(canvas, blurred(tiles.cut(Drawn(image), tile)), tile, scale=2)
    assert np.abs(canvas - blurred(image)).max() < 1e-5


def test_too_little_overlap_shows():
    """The check above can fail: without context the same operation has seams."""
    image = np.random.default_rng(0).random((100, 100, 3), dtype=np.float32)
    canvas = np.zeros((200, 200, 3), np.float32)
    for tile in tiles.plan(100, 100, tile_px=32, overlap_px=0):
        tiles.add_tile(canvas, blurred(tiles.cut(Drawn(image), tile)), tile, scale=2)
    assert np.abs(canvas - blurred(image)).max() > 0.02


def test_edges_lie_on_the_networks_step_and_the_rest_is_mirrored():
    plan = tiles.plan(7, 9, tile_px=4, overlap_px=1, step=2)
    for tile in plan:
        for span in (tile.rows, tile.columns):
            assert all(v % 2 == 0 for v in (span.start, span.stop, span.read_start, span.read_stop))
    image = np.arange(7 * 9 * 3, dtype=np.float32).reshape(7, 9, 3)
    last = tiles.cut(Drawn(image), plan[-1])
    assert np.array_equal(last[-1], last[-3])
    assert np.array_equal(
        tiles.cut(Drawn(image[:1, :1]), tiles.plan(1, 1, tile_px=4, overlap_px=0, step=2)[0])[1, 1], image[0, 0]
    )


def test_a_tile_of_the_wrong_size_is_refused():
    (tile,) = tiles.plan(8, 8, tile_px=8, overlap_px=0)
    with pytest.raises(ValueError, match="was expected"):
        tiles.add_tile(np.zeros((16, 16, 3), np.float32), np.zeros((15, 16, 3), np.float32), tile, scale=2)


@pytest.mark.parametrize("bad", [(0, 5, 8, 0), (5, 0, 8, 0), (5, 5, 0, 0), (5, 5, 8, -1)])
def test_impossible_plans_are_refused(bad):
    with pytest.raises(ValueError, match="no tiles"):
        tiles.plan(bad[0], bad[1], tile_px=bad[2], overlap_px=bad[3])
