"""In which precision networks run: reduced where it is faster and shows the same picture, float32 in every doubt.

With ``precision=auto`` each network is first shown a canary picture in both precisions (``pipeline.casting``), and runs
reduced only if the two results agree; each reduced result that fails its check is computed again in float32 before it
is called failed. bfloat16 before float16, since it has float32's range; GFPGAN is known not to fit into float16's.

The recogniser is small beside the others and stays with float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.device import exact


class Precision(StrEnum):
    """What a record says."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


#: What torch calls them.
DTYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


@contextmanager
def computing(device: torch.device, precision: Precision, *, cache_weights: bool = True) -> Iterator[None]:
    """Networks in this precision, without gradients, the same sums every time."""
    reduced = precision is not Precision.FLOAT32
    dtype = DTYPES[precision] if reduced else torch.bfloat16
    with exact(), torch.autocast(device.type, dtype=dtype, enabled=reduced, cache_enabled=cache_weights):
        yield


def psnr(one: NDArray[Any], other: NDArray[Any]) -> float:
    """How well (dB) two pictures in [0, 1] agree; not-a-number where one has such values."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))
