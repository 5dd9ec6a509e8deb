"""Pictures through the whole pipeline, with real networks: what nobody asked to change comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from pipeline.codec import read
from pipeline.colour import Kind
from pipeline.errors import UnsupportedOption
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import whole
from pipeline.restoration import Outputs, process
from pipeline.restorer import Restorer
from pipeline.types import FaceStatus
from pipeline.weights import WeightStore
from tests.unit.pipeline.corpus import LOSSLESS, LOSSY, png, tiff

UNTOUCHED = RestoreOptions(scale=1, strength=0, background="none")
IMAGE = OutputOptions(outputs=("image",))


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    """The networks that come with the package; their folder of others is empty."""
    folder: Path = tmp_path_factory.mktemp("weights")
    return Restorer.load(WeightStore(folder, allow_preview=True), device="cpu")


def image_of(outputs: Outputs) -> bytes:
    return outputs.part("image").data


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_nothing_asked_nothing_changed(name, restorer):
    """Lossy files are written losslessly, since another pass through their own format changes them."""
    data = (LOSSLESS | LOSSY)[name]()
    source = read(data)
    goal = "auto" if name in LOSSLESS else "tiff" if source.space.kind is Kind.CMYK else "png"
    output = OutputOptions(outputs=("image",), format=goal)
    again = read(image_of(process(data, options=UNTOUCHED, output=output, restorer=restorer)))
    assert np.array_equal(again.samples, source.samples)
    if source.alpha is not None:
        assert np.array_equal(again.alpha, source.alpha)


PORTRAIT = skimage.data.astronaut()[:256, 96:352]


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_face_in_16_bits_is_restored_in_16_bits(kind, restorer):
    deep = PORTRAIT.astype(np.uint16) * 257
    data = png(deep, 16) if kind == "png" else tiff(deep, photometric="rgb")
    outputs = process(data, options=RestoreOptions(scale=1, background="none"), output=IMAGE, restorer=restorer)
    assert FaceStatus.RESTORED in {face.status for face in outputs.report.faces}
    again = read(image_of(outputs))
    assert again.bit_depth == 16
    moved = np.abs(again.samples.astype(int) - deep)
    assert 257 < moved.max() < 30_000
    assert len(np.unique(again.samples % 257)) > 100, "values between those of 8 bits"


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_portrait_in_the_lowest_256_of_65536_levels_stays_that_dark(kind, restorer):
    """Seed tools take such files for 8 bits and make them 257 times as bright."""
    dark = PORTRAIT.astype(np.uint16)
    data = png(dark, 16) if kind == "png" else tiff(dark, photometric="rgb")
    outputs = process(data, options=RestoreOptions(scale=2, background="none"), output=IMAGE, restorer=restorer)
    assert "nearly_black" in {notice.code for notice in outputs.report.warnings}
    again = read(image_of(outputs))
    assert again.bit_depth == 16
    assert again.samples.max() < 300
    shrunk = again.samples.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - dark).mean() < 3


def test_a_page_that_is_not_there_is_refused_before_any_work(restorer):
    data = tiff(np.stack([PORTRAIT] * 2), photometric="rgb")
    second = process(data, options=RestoreOptions(scale=1, strength=0, page=2), output=IMAGE, restorer=restorer)
    assert np.array_equal(whole(read(image_of(second)).picture), whole(read(data, page=2).picture))
    with pytest.raises(UnsupportedOption, match="the file has 2 pages"):
        process(data, options=RestoreOptions(page=3), output=IMAGE, restorer=restorer)
