"""From bytes to everything that was asked for, with a small restorer whose every pixel is known."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from pipeline.codec import read
from pipeline.errors import Cancelled, TruncatedImage, UnsupportedOption
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import whole
from pipeline.resize import resize
from pipeline.restoration import process
from pipeline.types import FaceCrop, FaceRecord, FaceStatus, Notice, Restoration, Stage, compute_here
from tests.unit.pipeline.canvases import Finished
from tests.unit.pipeline.corpus import LOSSLESS, levels, saved

EVERYTHING = OutputOptions(outputs=("image", "faces", "comparison", "mask", "provenance"))
BOX = np.s_[4:12, 6:20]


class Lighten:
    """Restores one "face", a box, by making it lighter; resamples the rest."""

    def __init__(self, amount: float = 0.1) -> None:
        self.amount = amount

    def require(self, options: RestoreOptions) -> None:
        if options.model == "restoreformer":
            raise UnsupportedOption("not here")

    def __call__(self, picture, options, *, on_progress=None, compute=compute_here):
        height, width = round(picture.height * options.scale), round(picture.width * options.scale)
        plain = resize(whole(picture), width, height)
        final = plain.copy()
        final[BOX] += self.amount
        changed = np.zeros((height, width), np.float32)
        changed[BOX] = 1
        crop = np.zeros((512, 512, 3), np.float32)
        return Restoration(
            canvas=Finished(plain=plain, image=final, changed=changed),
            faces=(
                FaceRecord(
                    id="m5g5g", index=0, box=(6, 4, 20, 12), landmarks=((1, 2),) * 5, score=0.9, size_px=14,
                    status=FaceStatus.RESTORED,
                ),
            ),
            crops=(FaceCrop(index=0, before=crop, after=crop + 0.5),) if options.keep_crops else (),
            warnings=(Notice(code="preview_weights", detail="Preview."),),
            seconds={Stage.RESTORE: 0.5},
            model={"name": "lighten", "sha256": "00"},
        )  # fmt: skip


def pixels(part) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(part.data)))


def run(
    name: str = "png-rgb-8", *, scale: float = 1.0, output: OutputOptions = EVERYTHING, amount: float = 0.1, **more
):
    options = RestoreOptions(scale=scale, keep_crops="faces" in output.outputs)
    return process(LOSSLESS[name](), options=options, output=output, restorer=Lighten(amount), **more)


def test_everything_asked_for_comes_in_a_fixed_order():
    outputs = run()
    assert [part.name for part in outputs.parts] == [
        "image", "mask", "comparison", "faces/0", "faces/0-before", "provenance",
    ]  # fmt: skip
    assert [part.name for part in run(output=OutputOptions(outputs=("mask",))).parts] == ["mask"]
    assert outputs.part("mask").extension == "png"


def test_the_mask_is_exactly_where_samples_differ():
    outputs = run()
    before, after = read(LOSSLESS["png-rgb-8"]()).samples, pixels(outputs.part("image"))
    mask = pixels(outputs.part("mask"))
    assert np.array_equal(mask > 0, np.any(before != after, axis=-1))
    assert set(np.unique(mask)) == {0, 255}


def test_the_comparison_shows_before_left_of_after():
    comparison = pixels(run("png-gray-8", scale=2).part("comparison"))
    height, width = 2 * 23, 2 * 37
    bar = comparison.shape[0] - height
    left, right = comparison[bar:, :width].astype(int), comparison[bar:, -width:].astype(int)
    brighter = (right - left)[BOX]
    assert brighter.mean() > 20
    assert np.array_equal(left[20:], right[20:])
    assert comparison[:bar].min() < 128, "the bar has a label"


def test_the_sidecar_proves_what_it_says():
    data = LOSSLESS["png-rgb-8"]()
    outputs = run()
    record = json.loads(outputs.part("provenance").data)
    assert record["input"]["sha256"] == hashlib.sha256(data).hexdigest() == outputs.report.input_sha256
    assert record["output"]["sha256"] == hashlib.sha256(outputs.part("image").data).hexdigest()
    assert record["output"]["pixels_changed"] == np.count_nonzero(pixels(outputs.part("mask")))
    assert record["output"]["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert record["faces"][0]["status"] == "restored"
    assert record["model"]["name"] == "lighten"
    assert record["options"]["strength"] == 1.0
    assert record["options"]["quality"] == 95
    assert [w["code"] for w in record["warnings"]] == ["preview_weights"]


def test_files_and_sidecar_are_the_same_in_every_run():
    assert run("tiff-rgba-16", scale=1.5).parts == run("tiff-rgba-16", scale=1.5).parts


def test_an_unchanged_picture_is_not_labelled_as_made_by_a_network():
    outputs = run(amount=0.0)
    assert json.loads(outputs.part("provenance").data)["output"]["digital_source_type"] is None
    assert read(outputs.part("image").data).metadata.xmp is None
    assert b"compositeWithTrainedAlgorithmicMedia" in read(run().part("image").data).metadata.xmp


def test_every_stage_of_ours_is_told_and_timed():
    told = []
    outputs = run(on_progress=lambda stage, fraction: told.append((stage, fraction)))
    assert told == [
        (Stage.DECODE, 0.0), (Stage.DECODE, 1.0), (Stage.ENCODE, 0.0), (Stage.ENCODE, 0.5), (Stage.ENCODE, 1.0)
    ]  # fmt: skip
    assert set(outputs.report.seconds) == {"decode", "restore", "encode"}


def test_progress_can_stop_the_work():
    def stop(stage, fraction):
        raise Cancelled("no more")

    with pytest.raises(Cancelled):
        run(on_progress=stop)


def test_what_cannot_be_written_is_refused_before_the_networks_work():
    class MustNotRun(Lighten):
        def __call__(self, *args, **kwargs):
            pytest.fail("the networks ran")

    for data, output in (
        (LOSSLESS["png-rgba-8"](), OutputOptions(format="jpeg")),
        (LOSSLESS["png-rgb-8"](), OutputOptions(format="webp", bit_depth="16")),
    ):
        with pytest.raises(UnsupportedOption):
            process(data, options=RestoreOptions(), output=output, restorer=MustNotRun())
    with pytest.raises(UnsupportedOption):
        process(b"", options=RestoreOptions(model="restoreformer"), output=EVERYTHING, restorer=MustNotRun())
    with pytest.raises(TruncatedImage):
        process(
            saved(Image.fromarray(levels(8)), "PNG")[:99],
            options=RestoreOptions(),
            output=EVERYTHING,
            restorer=MustNotRun(),
        )


def test_transparent_pixels_are_shown_over_white():
    clear = np.zeros((40, 40, 4), np.uint8)
    options = OutputOptions(outputs=("comparison",))
    outputs = process(
        saved(Image.fromarray(clear), "PNG"), options=RestoreOptions(scale=1), output=options, restorer=Lighten(0)
    )
    assert pixels(outputs.part("comparison"))[-40:].min() == 255
