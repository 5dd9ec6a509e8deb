"""Enlarges the picture around the faces: Real-ESRGAN's networks by tiles, or Lanczos."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch

from pipeline import tiles
from pipeline.arch.networks import Network
from pipeline.device import exact, is_out_of_memory
from pipeline.errors import BadNetworkOutput, OutOfMemory
from pipeline.resize import resize
from pipeline.restore import FLAT_SPREAD, PLAUSIBLE_DISTANCE
from pipeline.tensors import from_batch, to_batch
from pipeline.types import Compute, FloatImage, Stage

#: Core of a tile (input px) before memory has told more. On a CPU larger tiles gain nothing.
DEFAULT_TILE_PX = {"cpu": 256, "cuda": 512}

#: Below this a tile is mostly overlap.
SMALLEST_TILE_PX = 64

#: Longest overlap (input px). SRVGG sees 34 px far, which is kept whole. RRDBNet could see 349 (x4) or 698 px (x2), but
#: its blocks add little to what they are given, so that what is far counts little: seeded networks differ by less than
#: 1/255 (tests/unit/pipeline/test_networks_at_work.py). The released weights could not be measured here.
MAX_OVERLAP_PX = 48

#: Side (px) at which a tile's result is compared with its input.
PLAUSIBLE_SIDE = 16


class BackgroundUpsampler:
    """Enlarges pictures with one network; remembers the tile size that memory allows, and nothing else."""

    def __init__(self, network: Callable[[], Network], device: torch.device) -> None:
        self._network = network
        self._device = device
        self._learned_px = DEFAULT_TILE_PX.get(device.type, DEFAULT_TILE_PX["cpu"])
        self._lock = threading.Lock()

    def __call__(
        self,
        image: FloatImage,
        size: tuple[int, int],
        *,
        compute: Compute,
        tile_px: int = 0,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> tuple[FloatImage, int]:
        """The picture at ``size`` (width, height), and the tile size that was used; only one tile is on the device.

        Convention: ``image`` (H, W, 3) float32 RGB in [0, 1]; ``tile_px`` 0 = by memory.

        Raises:
            OutOfMemory: even the smallest tile does not fit.
            BadNetworkOutput: a tile's result cannot be right.
            WeightsError: the network cannot be loaded.
        """
        core_px = tile_px or self._learned_px
        while True:
            try:
                return self._tiled(image, size, core_px, compute, on_fraction), core_px
            except RuntimeError as err:
                if not is_out_of_memory(err):
                    raise
                if core_px <= SMALLEST_TILE_PX:
                    raise OutOfMemory(f"a background tile of {core_px} px does not fit into memory") from err
            core_px = max(SMALLEST_TILE_PX, core_px // 2)
            with self._lock:
                self._learned_px = min(self._learned_px, core_px)

    def _tiled(
        self,
        image: FloatImage,
        size: tuple[int, int],
        core_px: int,
        compute: Compute,
        on_fraction: Callable[[float], None],
    ) -> FloatImage:
        height, width = image.shape[:2]
        network = compute(self._network, stage=Stage.UPSAMPLE, megapixels=0)
        step = network.multiple_px
        plan = tiles.plan(
            height, width, tile_px=core_px, overlap_px=min(network.receptive_px, MAX_OVERLAP_PX), step=step
        )
        factor = _whole_factor((width, height), size) or network.scale
        canvas = np.zeros((tiles.padded(height, step) * factor, tiles.padded(width, step) * factor, 3), np.float32)
        for done, tile in enumerate(plan):
            piece = tiles.cut(image, tile)
            result = compute(
                lambda piece=piece: self._forward(network, piece),  # type: ignore[misc]
                stage=Stage.UPSAMPLE,
                megapixels=tile.megapixels,
            )
            check_tile(result, piece, scale=network.scale)
            if factor != network.scale:
                result = np.clip(resize(result, piece.shape[1] * factor, piece.shape[0] * factor), 0, 1)
            tiles.add_tile(canvas, result, tile, scale=factor)
            on_fraction((done + 1) / len(plan))
        picture = np.ascontiguousarray(canvas[: height * factor, : width * factor])
        return picture if picture.shape[1::-1] == size else np.clip(resize(picture, *size), 0, 1)

    def _forward(self, network: Network, piece: FloatImage) -> FloatImage:
        with exact():
            return from_batch(network.module(to_batch([piece], device=self._device, signed=False)), signed=False)[0]


def _whole_factor(source: tuple[int, int], size: tuple[int, int]) -> int | None:
    """By which whole number the picture grows, if it does: then each tile goes to the final size by itself.

    The canvas is then as large as the result and not as large as the network's, which at x4 is sixteen pictures.
    """
    factor = size[0] // source[0]
    return factor if factor >= 1 and size == (source[0] * factor, source[1] * factor) else None


def check_tile(result: FloatImage, piece: FloatImage, *, scale: int) -> None:
    """Refuse a tile that cannot be the enlarged input.

    Raises:
        BadNetworkOutput: another size, not finite, flat, or far from its input.
    """
    expected = (piece.shape[0] * scale, piece.shape[1] * scale, 3)
    if result.shape != expected:
        raise BadNetworkOutput(f"the background network gave {result.shape} where {expected} was expected")
    if not np.isfinite(result).all():
        raise BadNetworkOutput("the background network gave values that are not finite")
    if float(result.std()) < FLAT_SPREAD / 10 and float(piece.std()) > FLAT_SPREAD:
        raise BadNetworkOutput("the background network gave a flat tile")
    before, after = resize(piece, PLAUSIBLE_SIDE, PLAUSIBLE_SIDE), resize(result, PLAUSIBLE_SIDE, PLAUSIBLE_SIDE)
    distance = float(np.abs(after - before).mean())
    if distance > PLAUSIBLE_DISTANCE:
        raise BadNetworkOutput(f"a background tile is {distance:.2f} away from its input")
