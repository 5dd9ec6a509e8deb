"""What bounds the other rows: the machine's best convolution and copy, and how many operations each network needs.

A row cannot be faster than its operations divided by the best convolution's speed. Bytes are no bound: GFPGAN in
float32 moves about 5 GB for a face (estimated from its layers' sizes), 80 operations a byte, where two cores need 20.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from photomend.bench.contest import Trial, Workshop

if TYPE_CHECKING:
    from torch import nn

#: The convolution: channels and side (px), 19 GFLOP, as the middle of GFPGAN has them; and what is copied (bytes).
WIDTH, SIDE, COPIED = 512, 64, 400_000_000
#: How often each is run; the best counts.
RUNS = 5


def measure(place: Workshop) -> Mapping[str, Any]:
    """GFLOP/s, GB/s, and GFLOP by network: a face of 512 px, or a megapixel."""
    import numpy as np
    import torch

    from pipeline.compat import prepare
    from pipeline.engines.choice import Engines
    from pipeline.precision import DTYPES, Precision, computing

    prepare()
    cpu = torch.device("cpu")
    layer = torch.nn.Conv2d(WIDTH, WIDTH, 3, padding=1).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    picture = torch.rand(1, WIDTH, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    gflop = 2 * 9 * WIDTH**2 * SIDE**2 / 1e9

    def convolve(precision: Precision) -> float:
        with computing(cpu, precision):
            given = picture.to(DTYPES[precision])
            return gflop / _best_s(lambda: layer(given))

    given = np.ones(COPIED // 4, np.float32)
    taken = np.empty_like(given)
    # Read and written, and what was there is read before it is.
    copied = _best_s(lambda: np.copyto(taken, given))
    figures = {"conv_gflops": convolve(Precision.FLOAT32)}
    if Engines.choose(cpu, cache=place.folder / "cache").pays():
        figures["conv_bf16_gflops"] = convolve(Precision.BFLOAT16)
    figures["copy_gb_s"] = 2 * COPIED / copied / 1e9
    return {name: round(value, 1) for name, value in (figures | operations()).items()}


def operations() -> dict[str, float]:
    """GFLOP (two for a multiplication and its addition) of what photomend runs."""
    from pipeline.arch import gfpgan_clean, parsenet, retinaface, upsamplers
    from pipeline.geometry import CROP_PX

    restorer = gfpgan_clean.GFPGANv1Clean(CROP_PX, narrow=1, multiplier=2, style=512)
    side = 256
    megapixel = side**2 / 1e6
    return {
        "gfpgan_gflop": _gflop(restorer.eval(), CROP_PX),
        "parsenet_gflop": _gflop(parsenet.lean(parsenet.build()), parsenet.INPUT_PX),
        "resnet50_gflop_mp": _gflop(retinaface.lean(retinaface.build("resnet50")), side) / megapixel,
        "srvgg_gflop_mp": _gflop(upsamplers.build_srvgg(scale=4), side) / megapixel,
        "rrdb_gflop_mp": _gflop(upsamplers.build_rrdb(scale=2), side) / megapixel,
    }


def _gflop(network: nn.Module, side: int) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # Nothing is computed: tensors on this device have shapes only.
    network = network.to("meta").requires_grad_(requires_grad=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side, device="meta"))
    return float(counter.get_total_flops() / 1e9)


def _best_s(run: Callable[[], object]) -> float:
    run()

    def once() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return min(once() for _ in range(RUNS))


TRIALS = (
    Trial(
        name="roofline",
        measure=measure,
        about_s=15,
        note="the machine's best convolution (512 channels, 3 x 3) and copy, and the operations of each network:"
        " GFLOP for a face of 512 px, or a megapixel (mp)",
    ),
)
