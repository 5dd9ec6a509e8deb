"""What decoding in the sandbox costs over decoding in the worker itself. Measures, never asserts.

On a busy machine the waits between the processes outweigh the work; computing time tells them apart.

``pytest tests/bench/test_bench_sandbox.py -m bench``
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decode import DEFAULT_LIMITS, read
from tests.unit.pipeline import corpus
from worker.sandbox.client import Sandbox
from worker.sandbox.confine import Bounds, memory_for

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


def photo(width: int, height: int) -> Image.Image:
    """Soft shapes and film grain, so that a JPEG file of it has a usual size."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 64 + 1, width // 64 + 1, 3), np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8))


#: Longer than a child takes to be ready.
WARM_UP_S = 0.15

#: Name → (file, rounds).
FILES: dict[str, tuple[Callable[[], bytes], int]] = {
    "JPEG 0.3 MP": (lambda: corpus.saved(photo(640, 480), "JPEG", quality=90), 60),
    "PNG 0.3 MP": (lambda: corpus.saved(photo(640, 480), "PNG"), 60),
    "JPEG 12 MP": (lambda: corpus.saved(photo(4000, 3000), "JPEG", quality=90), 25),
    "TIFF 12 MP of 16 bits": (
        lambda: corpus.tiff(np.asarray(photo(4000, 3000), np.uint16) * 257, photometric="rgb", compression="zlib"),
        9,
    ),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Bounds(memory_bytes=memory_for(DEFAULT_LIMITS.max_pixels), cpu_s=60))
    sandbox.start()
    yield sandbox
    sandbox.close()


def cpu_ms(sandbox: Sandbox) -> float:
    """Computing time of this process, the zygote and its ended children. A tick is 10 ms, so only many rounds tell."""
    assert sandbox._zygote is not None
    fields = Path(f"/proc/{sandbox._zygote.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return time.process_time() * 1000 + sum(int(ticks) for ticks in fields[11:15]) * 1000 / os.sysconf("SC_CLK_TCK")


def seconds(decode: Callable[[], object]) -> float:
    began = time.perf_counter()
    decode()
    return time.perf_counter() - began


@pytest.mark.parametrize("name", FILES)
def test_what_the_sandbox_adds_to_decoding(sandbox: Sandbox, capsys: pytest.CaptureFixture[str], name: str) -> None:
    make, rounds = FILES[name]
    data = make()
    read(data)
    here, there, computed = [], [], [0.0, 0.0]
    # Interleaved, so that whatever else the machine does slows both.
    for _ in range(rounds):
        marks = [cpu_ms(sandbox)]
        here.append(seconds(lambda: read(data)) * 1000)
        marks.append(cpu_ms(sandbox))
        # Between two pictures of a worker lie fetching and restoring; the next child warms up meanwhile.
        time.sleep(WARM_UP_S)
        there.append(seconds(lambda: sandbox.decode(data, limits=DEFAULT_LIMITS)) * 1000)
        marks.append(cpu_ms(sandbox))
        computed = [total + b - a for total, a, b in zip(computed, marks, marks[1:], strict=False)]
    added = statistics.median(b - a for a, b in zip(here, there, strict=True))
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name:24s} {len(data) / 1e6:6.2f} MB   here {statistics.median(here):7.1f} ms"
            f"   sandboxed {statistics.median(there):7.1f} ms   added {added:5.1f} ms"
            f"   (computing: {computed[0] / rounds:6.1f} and {computed[1] / rounds:6.1f} ms)",
            end="",
        )
