"""What the codecs' settings cost and save on a restored picture: seconds and bytes. Measures, never asserts.

Computing time, which a busy machine changes least.

``pytest tests/bench/test_bench_codecs.py -m bench``; the tables in ``pipeline/encode.py`` come from here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photomend.bench import pictures
from photomend.bench.contest import Workshop
from pipeline import vips
from pipeline.codec import read
from pipeline.options import RestoreOptions
from pipeline.picture import bands
from pipeline.render import quantised
from pipeline.restorer import Restorer
from pipeline.types import FloatImage
from pipeline.weights import WeightStore

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

#: Each setting is run so often, in turn with the others; the fastest counts.
ROUNDS = 2
CASE, SCALE = "00", 2.0

Say = Callable[[str], None]
Settings = Mapping[str, Mapping[str, Any]]

PNG: Settings = {
    "filter none": {"compression": 6, "filter": "none"},
    "filter sub": {"compression": 6, "filter": "sub"},
    "filter up": {"compression": 6, "filter": "up"},
    "filter all": {"compression": 6, "filter": "all"},
    **{f"level {level}": {"compression": level, "filter": "paeth"} for level in (1, 2, 3, 4, 5, 6, 7, 9)},
}
JPEG: Settings = {
    "usual Huffman tables": {"Q": 95, "optimize_coding": False},
    "tables of its own": {"Q": 95, "optimize_coding": True},
    "progressive": {"Q": 95, "optimize_coding": True, "interlace": True},
    "colour at full size": {"Q": 95, "optimize_coding": False, "subsample_mode": "off"},
    "colour halved": {"Q": 95, "optimize_coding": False, "subsample_mode": "on"},
}
TIFF: Settings = {
    "none": {"compression": "none"},
    "packbits": {"compression": "packbits"},
    "lzw, no predictor": {"compression": "lzw", "predictor": "none"},
    "lzw": {"compression": "lzw", "predictor": "horizontal"},
    "deflate, no predictor": {"compression": "deflate", "predictor": "none"},
    **{
        f"deflate, level {level}": {"compression": "deflate", "predictor": "horizontal", "level": level}
        for level in (1, 3, 4, 6)
    },
}
WEBP: Settings = {
    **{f"lossless, effort {effort}": {"lossless": True, "exact": True, "effort": effort} for effort in (0, 2, 4)},
    **{f"lossy, effort {effort}": {"Q": 95, "effort": effort} for effort in (0, 2, 4)},
}


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Writes past pytest's capture: the figures are what the benchmark is for."""

    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="")  # noqa: T201

    return write


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> FloatImage:
    """A photo by the preview pack at twice its size (H, W, 3)."""
    shared = os.environ.get("SHARED_DIR")
    photos = Path(shared).resolve() / "photos" if shared else None
    place = Workshop(folder=tmp_path_factory.mktemp("codecs"), photos=photos)
    restore = Restorer.load(WeightStore(place.folder, allow_preview=True), device="cpu")
    source = read(pictures.file(place, CASE).read_bytes())
    canvas = restore(source.picture, RestoreOptions(model="preview", scale=SCALE, background="none")).canvas
    return np.concatenate([canvas.band(rows).image for rows in bands(canvas.height)])


@pytest.mark.parametrize(
    ("name", "depth", "settings"),
    [
        pytest.param("png", 8, PNG, id="png-8"),
        pytest.param("png", 16, PNG, id="png-16"),
        pytest.param("jpeg", 8, JPEG, id="jpeg"),
        pytest.param("tiff", 8, TIFF, id="tiff-8"),
        pytest.param("tiff", 16, TIFF, id="tiff-16"),
        pytest.param("webp", 8, WEBP, id="webp"),
    ],
)
def test_time_and_size_of_each_setting(
    name: str, depth: int, settings: Settings, restored: FloatImage, say: Say
) -> None:
    samples = quantised(restored, depth)
    picture = vips.picture(samples, "srgb" if depth == 8 else "rgb16")
    taken: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for words, options in settings.items():
            began = time.process_time()
            sizes[words] = len(vips.save(picture, name, **options))
            taken.setdefault(words, []).append(time.process_time() - began)
    say(f"{name}, {depth} bits, {samples.shape[1]} x {samples.shape[0]}, {samples.nbytes / 1e6:.1f} MB of samples")
    for words, seconds in taken.items():
        say(f"  {words:26}{min(seconds):8.3f} s {sizes[words] / 1e6:8.2f} MB")
