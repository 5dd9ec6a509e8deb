"""The pictures by which a restorer's progress is seen and measured: examples, and validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.training.errors import WrongData
from pipeline.training.gan.options import Validation
from pipeline.training.gan.samples import Samples, to_signed
from pipeline.training.gan.sources import open_source, picture
from pipeline.training.losses import psnr, ssim

#: Pictures in a grid of samples, and the seed by which they are spoiled: the same in every run.
SHOWN, SHOWN_SEED = 4, 20210111


def examples(samples: Samples) -> dict[str, Tensor]:
    """``degraded`` and ``target`` (N, 3, S, S) of a few pictures; ``target`` alone where nothing is degraded."""
    fixed = replace(samples, seed=SHOWN_SEED, batch=SHOWN, mirror=False, landmarks=None)
    rows = [fixed[0, place] for place in range(min(SHOWN, len(samples.source.names)))]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class Pairs:
    """Degraded pictures and their originals, by name.

    Raises:
        WrongData: a folder is not there or empty, or an original is missing.
    """

    def __init__(self, where: Validation, *, side: int) -> None:
        self._degraded, self._originals = open_source(where.degraded), open_source(where.originals)
        self._side = side
        self._at = {name: index for index, name in enumerate(self._originals.names)}
        missing = [name for name in self._degraded.names if name not in self._at]
        if missing:
            raise WrongData(f"{where.originals} lacks the originals of {len(missing)} pictures, such as {missing[0]}")

    def measure(self, restore: Callable[[Tensor], Tensor]) -> Iterator[dict[str, float]]:
        """PSNR (dB) and SSIM of each pair's restored picture."""
        for index, name in enumerate(self._degraded.names):
            degraded = to_signed(picture(self._degraded, index, side=self._side))[None]
            original = to_signed(picture(self._originals, self._at[name], side=self._side))[None]
            mended, truth = (restore(degraded).cpu() + 1) / 2, (original + 1) / 2
            yield {"psnr": float(psnr(mended, truth)), "ssim": float(ssim(mended, truth))}
