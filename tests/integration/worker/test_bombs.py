"""Files made to do harm, through the sandbox as workers have it: each is a picture or an error with a code."""

from __future__ import annotations

import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.decode import DEFAULT_LIMITS, Limits
from pipeline.errors import ImageTooLarge, PipelineError, TruncatedImage, UnreadableImage
from tests.hostile import liar, mutant
from tests.hostile_files import MB, NAMED, PICTURE, jpeg_sized, zeros
from tests.unit.pipeline import corpus
from tests.unit.pipeline.corpus import png_chunk
from worker.sandbox.client import Sandbox
from worker.sandbox.confine import Bounds, memory_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux' own")]

#: What a worker process may grow by while bombs go off in its children (bytes).
GROWTH = 64 * MB


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Bounds(memory_bytes=memory_for(10_000_000), cpu_s=10))
    sandbox.start()
    yield sandbox
    sandbox.close()


# -- bombs


def png(width: int, height: int, *, claimed: tuple[int, int] | None = None) -> bytes:
    """A black PNG picture of one bit a pixel, and perhaps of another size than it claims."""
    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 1, 0, 0, 0, 0)
    body = zeros((1 + -(-width // 8)) * height)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def tiff(**tags: int) -> bytes:
    """A small TIFF file with some of its header's numbers replaced."""
    numbers = {"width": 256, "height": 257, "rows": 278}
    whole = bytearray(corpus.LOSSLESS["tiff-rgb-8"]())
    (at,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", whole, entry)
        for name, value in tags.items():
            if tag == numbers[name]:
                struct.pack_into("<HII", whole, entry + 2, 4, 1, value)
    return bytes(whole)


BOMBS: dict[str, tuple[Callable[[], bytes], type[PipelineError]]] = {
    "PNG of 900 megapixels of nothing": (lambda: png(30_000, 30_000), ImageTooLarge),
    "PNG of as many pixels as it can say": (lambda: png(64, 48, claimed=(2**31 - 1, 2**31 - 1)), PipelineError),
    "PNG that is not as large as it says": (lambda: png(64, 48, claimed=(10_000, 10_000)), TruncatedImage),
    "JPEG of 4290 megapixels": (lambda: jpeg_sized(65_500, 65_500), ImageTooLarge),
    "JPEG of 200 megapixels without any": (lambda: jpeg_sized(20_000, 10_000), TruncatedImage),
    "TIFF of 2^31 by 2^31": (lambda: tiff(width=2**31 - 1, height=2**31 - 1), PipelineError),
    "TIFF of 2^32 columns": (lambda: tiff(width=2**32 - 1), PipelineError),
    "TIFF of a million by a million": (lambda: tiff(width=1_000_000, height=1_000_000), ImageTooLarge),
    "TIFF of one strip that is not there": (lambda: tiff(width=15_000, height=15_000, rows=15_000), PipelineError),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_its_code_and_costs_the_worker_nothing(sandbox: Sandbox, name: str) -> None:
    make, error = BOMBS[name]
    data = make()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(error):
        sandbox.decode(data, limits=DEFAULT_LIMITS)
    assert time.monotonic() - began < 10
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_is_not_what_it_says_ends_as_it_must(sandbox: Sandbox, name: str) -> None:
    """With its code, or as the picture that its honest like is; and its memory is nobody's but its decoder's."""
    named = NAMED[name]
    data = named.make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end, source = PICTURE, None
    try:
        source = sandbox.decode(data, limits=DEFAULT_LIMITS, page=named.page)
    except PipelineError as error:
        end = error.code
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH
    assert end in named.ends
    if source is not None:
        assert named.notice in {None, *(notice.code for notice in source.notices)}
        honest = source if named.like is None else sandbox.decode(named.like(), limits=DEFAULT_LIMITS)
        assert np.array_equal(source.samples, honest.samples)


def test_a_picture_that_fits_its_limits_and_not_its_memory_is_too_large(sandbox: Sandbox) -> None:
    """The operator's word about memory holds whatever the pixel limit allows."""
    data = png(40_000, 20_000)
    with pytest.raises(ImageTooLarge, match="memory"):
        sandbox.decode(data, limits=Limits(max_pixels=1_000_000_000))


@pytest.mark.parametrize("name", [*corpus.LOSSLESS, *corpus.LOSSY])
def test_a_file_cut_off_anywhere_is_refused_as_such(sandbox: Sandbox, name: str) -> None:
    whole = (corpus.LOSSLESS | corpus.LOSSY)[name]()
    for share in (0.02, 0.4, 0.8):
        cut = whole[: int(len(whole) * share)]
        try:
            source = sandbox.decode(cut, limits=DEFAULT_LIMITS)
        except (TruncatedImage, UnreadableImage):
            continue
        pytest.fail(f"{share:.0%} of the file made a picture: {source.header}")


# -- damage at random

MUTANTS_PER_FILE = 4


@pytest.mark.timeout(180)
def test_damaged_files_end_as_a_picture_or_as_an_error_of_the_pipeline(
    sandbox: Sandbox, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(20261107)
    files = [make() for make in (corpus.LOSSLESS | corpus.LOSSY).values()]
    mutants = [damage(data, dice) for data in files for damage in (mutant, liar) for _ in range(MUTANTS_PER_FILE)]

    def end(data: bytes) -> str:
        try:
            source = sandbox.decode(data, limits=DEFAULT_LIMITS)
        except PipelineError as error:
            return error.code
        assert source.samples.shape[:2] == (source.height, source.width)
        return "picture"

    with ThreadPoolExecutor(2) as threads:
        ends = Counter(threads.map(end, mutants))
    record_property("ends", dict(ends))
    assert ends["picture"] > 50, "the damage is not so great that nothing is decoded"
    assert sum(ends.values()) - ends["picture"] > 50, "nor so small that everything is"
