"""Enlarges the picture around the faces: Real-ESRGAN's networks by tiles, or Lanczos."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipeline import plausible, scratch, tiles
from pipeline.arch.networks import Network, Runs
from pipeline.casting import Casting, Outcome, sample
from pipeline.device import is_out_of_memory
from pipeline.errors import BadNetworkOutput, OutOfMemory
from pipeline.picture import Picture
from pipeline.resize import Resampling, resize
from pipeline.tensors import from_batch, to_batch
from pipeline.types import Compute, FloatImage, Stage

#: Core of a tile (input px) before memory has told more. The larger, the less is computed twice: with an overlap of
#: 48 px a core of 256 px costs 1.9 times its own pixels, one of 512 px 1.4 times.
DEFAULT_TILE_PX = 512

#: Side (final px) of an RRDBNet's core on a CPU, whose memory nobody hears running out: its last layers hold 64
#: channels at the final size.
RRDB_FINAL_PX = 1024

#: Below this a tile is mostly overlap.
SMALLEST_TILE_PX = 64

#: Longest overlap (input px). SRVGG sees 34 px far, which is kept whole. RRDBNet could see 349 (x4) or 698 px (x2), but
#: its blocks add little to what they are given, so that what is far counts little: seeded networks differ by less than
#: 1/255 (tests/unit/pipeline/test_networks_at_work.py). The released weights could not be measured here.
MAX_OVERLAP_PX = 48

#: A tile whose values spread less than this shows nothing; grain alone, smoothed away, leaves more.
FLAT = 0.001

#: Side (px) of the canary's picture: small beside a tile, and large enough to see all of the network.
CANARY_PX = 128


class Enlarged:
    """A network's picture, at the final size when its rows are asked for.

    Args:
        pixels: (H, W, 3) what the network made, at its own size; on the disk where it is large.
        size: (width, height), final.
    """

    def __init__(self, pixels: FloatImage, size: tuple[int, int]) -> None:
        own = (pixels.shape[1], pixels.shape[0])
        self._pixels = pixels
        self._resampling = None if own == size else Resampling(own, size)

    def rows(self, rows: slice) -> FloatImage:
        """Whole rows of the final picture, in [0, 1]; not to be written to."""
        if self._resampling is None:
            return self._pixels[rows]
        return np.clip(self._resampling(lambda source: self._pixels[source], rows), 0, 1)


class BackgroundUpsampler:
    """Enlarges pictures with one network; remembers the tile size that memory allows, and nothing else."""

    def __init__(self, network: Callable[[], Network], device: torch.device) -> None:
        self._network = network
        self._device = device
        self._learned_px: int | None = None
        self._lock = threading.Lock()

    def __call__(
        self,
        picture: Picture,
        size: tuple[int, int],
        *,
        compute: Compute,
        tile_px: int = 0,
        casting: Casting | None = None,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> tuple[Enlarged, int]:
        """The picture at ``size`` (width, height), and the tile size that was used; only one tile is on the device.

        All tiles are done here, and not when their rows are asked for: a tile that does not fit into memory makes all
        of them smaller, which rows that are already written could not follow. ``tile_px`` 0 = by memory.

        Raises:
            OutOfMemory: even the smallest tile does not fit.
            BadNetworkOutput: a tile's result cannot be right.
            ScratchFull: the enlarged picture does not fit onto the disk.
            WeightsError: the network cannot be loaded.
        """
        casting = casting or Casting()
        network = compute(self._network, stage=Stage.UPSAMPLE, megapixels=0)
        usual_px = self._learned_px or default_tile_px(network, self._device)
        core_px = tile_px or usual_px
        work = functools.partial(self._tiled, network, picture, size, compute=compute, on_fraction=on_fraction)
        while True:
            try:
                return work(core_px, casting), core_px
            except RuntimeError as err:
                if not is_out_of_memory(err):
                    raise
                if core_px <= SMALLEST_TILE_PX:
                    raise OutOfMemory(f"a background tile of {core_px} px does not fit into memory") from err
            core_px = max(SMALLEST_TILE_PX, core_px // 2)
            with self._lock:
                self._learned_px = min(self._learned_px or usual_px, core_px)

    def _tiled(
        self,
        network: Network,
        picture: Picture,
        size: tuple[int, int],
        core_px: int,
        casting: Casting,
        *,
        compute: Compute,
        on_fraction: Callable[[float], None],
    ) -> Enlarged:
        height, width = picture.height, picture.width
        step = network.multiple_px
        plan = tiles.plan(
            height, width, tile_px=core_px, overlap_px=min(network.receptive_px, MAX_OVERLAP_PX), step=step
        )
        factor = _whole_factor((width, height), size) or network.scale
        shape = (tiles.padded(height, step) * factor, tiles.padded(width, step) * factor, 3)
        canvas = scratch.zeros(shape, np.float32)
        for done, tile in enumerate(plan):
            piece = tiles.cut(picture, tile)
            outcome = compute(
                lambda piece=piece: self._forward(network, piece, casting),  # type: ignore[misc]
                stage=Stage.UPSAMPLE,
                megapixels=tile.megapixels,
            )
            if outcome.fault:
                raise BadNetworkOutput(f"a background tile was refused: {outcome.fault}")
            result = outcome.value
            if factor != network.scale:
                result = np.clip(resize(result, piece.shape[1] * factor, piece.shape[0] * factor), 0, 1)
            tiles.add_tile(canvas, result, tile, scale=factor)
            on_fraction((done + 1) / len(plan))
        return Enlarged(canvas[: height * factor, : width * factor], size)

    def _forward(self, network: Network, piece: FloatImage, casting: Casting) -> Outcome[FloatImage]:
        return casting.checked(
            network,
            lambda runs, pieces: _enlarged(runs, pieces, self._device),
            [piece],
            device=self._device,
            look=functools.partial(look, network, self._device),
            fault_of=functools.partial(plausible.fault_of, flat=FLAT, scale=network.scale),
        )[0]


def default_tile_px(network: Network, device: torch.device) -> int:
    """The core (input px) that this network's tiles begin with on this device."""
    if device.type == "cpu" and network.architecture == "rrdb":
        return min(DEFAULT_TILE_PX, RRDB_FINAL_PX // network.scale)
    return DEFAULT_TILE_PX


def look(_: Network, device: torch.device, runs: Runs) -> FloatImage:
    """What an upsampler makes of the canary's picture. Device work."""
    return _enlarged(runs, [sample(CANARY_PX)], device)[0]


def _enlarged(runs: Runs, pieces: Sequence[FloatImage], device: torch.device) -> list[FloatImage]:
    return from_batch(runs(to_batch(pieces, device=device, signed=False)), signed=False)


def _whole_factor(source: tuple[int, int], size: tuple[int, int]) -> int | None:
    """By which whole number the picture grows, if it does: then each tile goes to the final size by itself.

    The canvas is then as large as the result and not as large as the network's, which at x4 is sixteen pictures.
    """
    factor = size[0] // source[0]
    return factor if factor >= 1 and size == (source[0] * factor, source[1] * factor) else None
