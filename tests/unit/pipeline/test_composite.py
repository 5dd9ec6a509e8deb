"""A picture painted in bands is the picture painted at once, byte for byte, wherever its arrays lie."""

from __future__ import annotations

import dataclasses
import io
import threading

import numpy as np
import pytest
from PIL import Image

from pipeline import blend, scratch, transparency
from pipeline.codec import read, write
from pipeline.composite import Composite
from pipeline.errors import Cancelled
from pipeline.geometry import compose, enlarge, shift
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import BAND_ROWS, Drawn, whole
from pipeline.render import MASK_FACE, MASK_UPSAMPLER, quantised, render
from pipeline.resize import PassingBy, resize
from pipeline.restoration import process
from pipeline.types import Restoration
from pipeline.upsample import Enlarged
from tests.unit.pipeline.canvases import painted
from tests.unit.pipeline.corpus import HEIGHT, LOSSLESS, WIDTH
from tests.unit.pipeline.test_blend import smooth
from tests.unit.pipeline.test_networks_at_work import picture

SOURCE = picture(150, 120)
SMALL = np.array([[0.1, 0.02, 20.0], [-0.02, 0.1, 130.0]])
TALL = enlarge(0.45, 0.45)


def patch(crop_to_output, **more):
    words = {"before": smooth(2), "after": smooth(3), "mask": blend.feathered_square(), "source_px_per_crop_px": 0.2}
    return blend.Patch(crop_to_output=crop_to_output, **(words | more))


def canvas(size, background):
    faces = [
        blend.Paste(patch(TALL, source_px_per_crop_px=1.3), *size),
        blend.Paste(patch(SMALL, lightness_only=True), *size),
        blend.Paste(patch(SMALL, strength=0.0), *size),
    ]
    if background == "whole":
        return Composite(Drawn(SOURCE), size, faces=[blend.Replacement(patch(TALL, source_px_per_crop_px=2.0), *size)])
    if background == "plain":
        return Composite(Drawn(SOURCE), size, faces=faces)
    enlarged = Enlarged(picture(600, 480, seed=4), size)
    return Composite(Drawn(SOURCE), size, background=lambda rows, _: enlarged.rows(rows), faces=faces)


@pytest.mark.parametrize("background", ["plain", "enlarged", "whole"])
@pytest.mark.parametrize("size", [(120, 150), (187, 233)])
def test_any_band_height_gives_the_same_bytes(background, size):
    at_once = painted(canvas(size, background))
    assert at_once.image.shape == (size[1], size[0], 3)
    assert np.array_equal(at_once.plain, resize(SOURCE, *size))
    for height in (23, 64, 100):
        tops = range(0, size[1], height)
        again = canvas(size, background)
        strips = [again.band(slice(top, min(top + height, size[1]))) for top in tops]
        for name in ("plain", "image", "changed"):
            by_bands = np.concatenate([getattr(strip, name) for strip in strips])
            assert by_bands.tobytes() == getattr(at_once, name).tobytes()
    for row in (0, 63, 64, size[1] - 1):
        assert np.array_equal(again.band(slice(row, row + 1)).image[0], at_once.image[row])


def test_faces_change_their_own_rows_and_the_rest_is_not_even_copied():
    small = Composite(Drawn(SOURCE), (120, 150), faces=[blend.Paste(patch(SMALL), 120, 150)])
    above = small.band(slice(0, 64))
    assert above.image is above.plain
    assert not above.changed.any()
    below = small.band(slice(64, 150))
    assert below.changed.max() == 1
    assert np.array_equal(below.image[below.changed == 0], below.plain[below.changed == 0])
    assert not np.array_equal(below.image, below.plain)


@pytest.mark.parametrize("size", [(120, 150), (240, 300), (130, 170)])
def test_what_lies_between_faces_is_never_made_of_floats_and_the_same(size):
    """Painted in parts, as a file is written, a picture is what it is painted as a whole."""
    apart = [enlarge(0.06, 0.06), compose(enlarge(0.06, 0.06), shift(80, 20))]
    made = Composite(Drawn(SOURCE), size, faces=[blend.Paste(patch(matrix), *size) for matrix in apart])
    rows = slice(0, 64)
    parts = made.touched(rows)
    assert len(parts) == 2
    assert sum(part.stop - part.start for part in parts) < size[0]
    at_once = made.band(rows)
    touched = np.zeros(size[0], bool)
    for part in parts:
        touched[part] = True
        assert np.abs(made.band(rows, part).image - at_once.image[:, part]).max() < 1e-6
        assert np.array_equal(made.band(rows, part).changed, at_once.changed[:, part])
    assert not at_once.changed[:, ~touched].any()
    assert np.array_equal(at_once.image[:, ~touched], at_once.plain[:, ~touched])


@pytest.mark.parametrize("rows", [(-1, 5), (5, 5), (0, 151), (200, 210)])
def test_rows_that_are_not_there_are_refused(rows):
    with pytest.raises(ValueError, match="of 150"):
        Composite(Drawn(SOURCE), (120, 150)).band(slice(*rows))


@pytest.mark.parametrize("target", [(50, 80), (100, 130), (240, 300), (120, 20)])
def test_a_copy_made_while_the_picture_goes_by_is_the_resized_picture(target):
    source = SOURCE[:130, :100]
    passing = PassingBy((100, 130), target, channels=3)
    for top in range(0, 130, 13):
        passing.add(source[top : top + 13])
    assert np.array_equal(passing.copy, resize(source, *target))
    unfinished = PassingBy((100, 130), target, channels=3)
    unfinished.add(source[:100])
    with pytest.raises(AssertionError, match="bug"):
        unfinished.copy  # noqa: B018


@pytest.mark.parametrize("name", LOSSLESS)
def test_samples_are_the_sources_resampled_plus_what_was_changed(name):
    """The same sums over whole arrays, written down here once more."""
    source = read(LOSSLESS[name]())
    size, bits = (round(WIDTH * 4.5), round(HEIGHT * 4.5)), source.bit_depth
    plain = resize(whole(source.picture), *size)
    image = plain.copy()
    image[40:90, 30:100] += 0.05
    encoded = write(source, image, options=OutputOptions())
    base = resize(source.samples, *size)
    again = read(encoded.data)
    outside = np.ones(size[::-1], bool)
    outside[40:90, 30:100] = False
    assert np.array_equal(again.samples[outside], base[outside])
    assert not np.array_equal(again.samples, base)
    assert encoded.changed_px == np.any(again.samples != base, axis=-1).sum()
    if source.alpha is not None:
        at_once = transparency.resampled(source.alpha, size, slice(0, size[1]))
        assert np.array_equal(again.alpha, quantised(at_once, bits))


def test_the_mask_tells_faces_from_background_and_counts_both():
    source = read(LOSSLESS["png-rgb-8"]())
    size = (3 * WIDTH, 3 * HEIGHT)
    lighter = resize(whole(source.picture), *size)
    lighter[:10] += 0.1
    face = blend.Paste(patch(enlarge(0.1, 0.1)), *size)
    made = Composite(source.picture, size, background=lambda rows, _: lighter[rows], faces=[face])
    rendered = render(source, made, space=source.space, depth=8, alpha=False)
    mask, changed = rendered.mask[:, :, 0], painted(made).changed
    assert set(np.unique(mask)) == {0, MASK_UPSAMPLER, MASK_FACE}
    assert rendered.face_px == np.count_nonzero(mask == MASK_FACE) > 100
    assert rendered.changed_px == np.count_nonzero(mask)
    assert not changed[mask == MASK_UPSAMPLER].any()
    assert changed[mask == MASK_FACE].all()
    plain = render(source, Composite(source.picture, size), space=source.space, depth=8, alpha=False)
    assert np.array_equal(np.any(rendered.samples != plain.samples, axis=-1), mask > 0)
    assert plain.changed_px == plain.mask.max() == 0


class Pastes:
    """A restorer that pastes two patches, and can be told to stop."""

    def require(self, options):
        pass

    def __call__(self, picture, options, *, on_progress=None, compute=None):
        size = round(picture.width * options.scale), round(picture.height * options.scale)
        faces = [blend.Paste(patch(matrix), *size) for matrix in (SMALL, TALL)]
        return Restoration(
            canvas=Composite(picture, size, faces=faces), faces=(), crops=(), warnings=(), model={"name": "pastes"}
        )


def made(data, **more):
    outputs = OutputOptions(outputs=("image", "mask", "comparison", "provenance"), **more)
    return process(data, options=RestoreOptions(scale=3), output=outputs, restorer=Pastes())


@pytest.mark.parametrize(
    ("name", "goal"),
    [("tiff-rgb-16", "auto"), ("tiff-rgba-16", "png"), ("png-rgba-8", "webp"), ("tiff-cmyk-8", "jpeg")],
)
def test_on_the_disk_everything_is_what_it_is_in_memory(monkeypatch, name, goal):
    data = LOSSLESS[name]()
    in_memory = made(data, format=goal)
    assert all(type(part.data) is bytes for part in in_memory.parts)
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    on_disk = made(data, format=goal)
    assert type(on_disk.part("image").data) is not bytes, "the limit struck"
    assert [(p.name, bytes(p.data)) for p in in_memory.parts] == [(p.name, bytes(p.data)) for p in on_disk.parts]


def test_a_picture_on_the_disk_is_read_like_a_file(monkeypatch):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    data = made(LOSSLESS["png-rgb-8"]()).part("image").data
    with scratch.streamed(data) as stream:
        assert stream.read(4) == b"\x89PNG"
        assert stream.seek(-8, io.SEEK_END) == len(data) - 8
        assert stream.read() == data[-8:]
        assert (stream.read(), stream.tell()) == (b"", len(data))
        stream.seek(0)
        assert Image.open(stream).size == (3 * WIDTH, 3 * HEIGHT)
    assert scratch.streamed(b"small") == b"small"


@pytest.mark.parametrize("name", ["png-rgb-8", "tiff-rgba-16", "tiff-cmyk-8"])
@pytest.mark.parametrize("background", ["plain", "enlarged"])
def test_sheets_made_side_by_side_are_those_made_one_after_the_other(monkeypatch, name, background):
    source = read(LOSSLESS[name]())
    made_by, two = set(), threading.Barrier(2, timeout=30)

    class Seen(Composite):
        def band(self, rows, columns=None):
            if count > 1 and len(made_by) < 2 and threading.get_ident() not in made_by:
                made_by.add(threading.get_ident())
                two.wait()  # nobody makes all of them
            return super().band(rows, columns)

    monkeypatch.setattr("pipeline.render.SHEET_ROWS", BAND_ROWS)
    size = (WIDTH * 10, HEIGHT * 10)
    enlarged = Enlarged(picture(HEIGHT * 20, WIDTH * 20, seed=4), size)
    under = {"background": lambda rows, _: enlarged.rows(rows)} if background == "enlarged" else {}
    faces = [blend.Paste(patch(enlarge(0.4, 0.4)), *size)]
    results = []
    for count in (1, 3):
        monkeypatch.setattr("pipeline.device.threads", lambda count=count: count)
        canvas = Seen(source.picture, size, faces=faces, **under)
        depth = source.bit_depth
        results.append(render(source, canvas, space=source.space, depth=depth, alpha=source.alpha is not None))
    assert len(made_by) >= 2
    one, several = results
    assert np.array_equal(one.samples, several.samples)
    assert np.array_equal(one.mask, several.mask)
    assert (one.changed_px, one.face_px) == (several.changed_px, several.face_px)
    assert one.face_px


def test_whoever_looks_at_bands_sees_them_from_the_top_down(monkeypatch):
    monkeypatch.setattr("pipeline.render.SHEET_ROWS", BAND_ROWS)
    monkeypatch.setattr("pipeline.device.threads", lambda: 3)
    source, size = read(LOSSLESS["png-rgb-8"]()), (WIDTH * 10, HEIGHT * 10)
    seen = []
    canvas = Composite(source.picture, size, faces=[blend.Paste(patch(TALL), *size)])
    render(source, canvas, space=source.space, depth=8, alpha=False, on_band=lambda rows, _: seen.append(rows))
    assert np.array_equal(np.concatenate(seen), painted(canvas).image)


@pytest.mark.parametrize("count", [1, 3])
def test_painting_can_be_stopped_between_sheets(monkeypatch, count):
    monkeypatch.setattr("pipeline.render.SHEET_ROWS", BAND_ROWS)
    monkeypatch.setattr("pipeline.device.threads", lambda: count)
    source = read(LOSSLESS["png-rgb-8"]())
    told, alive = [], threading.active_count()

    def stop(fraction):
        told.append(fraction)
        if len(told) == 2:
            raise Cancelled("enough")

    tall = Composite(source.picture, (WIDTH * 10, HEIGHT * 10))
    with pytest.raises(Cancelled):
        render(source, tall, space=source.space, depth=8, alpha=False, on_fraction=stop)
    assert told == [0.25, 0.5]
    assert threading.active_count() == alive


def test_a_patch_is_not_written_to():
    frozen = patch(TALL)
    for field in dataclasses.fields(frozen):
        if isinstance(value := getattr(frozen, field.name), np.ndarray):
            value.setflags(write=False)
    under = SOURCE.copy()
    under.setflags(write=False)
    assert painted(Composite(Drawn(under), (120, 150), faces=[blend.Paste(frozen, 120, 150)])).changed.any()
