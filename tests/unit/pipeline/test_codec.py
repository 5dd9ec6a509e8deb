"""Pictures come in whole and go out as the same kind of picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline import vips
from pipeline.codec import Format, Limits, probe, read, write
from pipeline.colour import Kind
from pipeline.errors import ImageTooLarge, TruncatedImage, UnreadableImage, UnsupportedImage, UnsupportedOption
from pipeline.options import OutputOptions
from tests.unit.pipeline import corpus
from tests.unit.pipeline.corpus import HEIGHT, LOSSLESS, WIDTH, levels, saved, tiff

KEEP = OutputOptions()


def independently(data: bytes) -> np.ndarray:
    """The samples as another library reads them: tifffile, or Pillow where tifffile lacks the compression."""
    if data[:2] in {b"II", b"MM"} and probe(data).compression in {"none", "deflate"}:
        return tifffile.imread(io.BytesIO(data))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("name", LOSSLESS)
def test_unchanged_samples_come_out_bit_identical(name):
    source = read(LOSSLESS[name]())
    encoded = write(source, source.working, options=KEEP)
    again = read(encoded.data)
    assert encoded.format is source.format
    assert (again.bit_depth, again.space.kind) == (source.bit_depth, source.space.kind)
    assert np.array_equal(again.samples, source.samples)
    assert (again.alpha is None) == (source.alpha is None)
    if source.alpha is not None:
        assert np.array_equal(again.alpha, source.alpha)
    assert not encoded.altered.any()


#: Other libraries' readings of modes that they show as they are (1 to 4 bits and planar files they do not).
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in LOSSLESS
        if not n.endswith(("-1", "-2", "-4", "planar", "white-is-0")) and not n.startswith(("png-palette", "tiff-cmyk"))
    ],
)
def test_another_library_sees_the_same_samples_before_and_after(name):
    data = LOSSLESS[name]()
    source = read(data)
    after = write(source, source.working, options=KEEP).data
    assert np.array_equal(independently(data), independently(after))


def test_sixteen_bits_reach_the_networks():
    working = read(LOSSLESS["tiff-gray-16"]()).working
    assert working.dtype == np.float32
    assert working.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(working[..., 0] * 65535, levels(16), atol=0.05)


def test_a_dark_16_bit_scan_stays_dark():
    """The seed project guesses 8 bits where no value is above 256; the file decides here."""
    source = read(LOSSLESS["png-gray-16-dark"]())
    assert source.bit_depth == 16
    assert source.working.max() < 0.01


def test_a_change_is_carried_to_the_full_depth():
    source = read(LOSSLESS["tiff-rgb-16"]())
    image = source.working.copy()
    image[5:9, 7:11] += 0.001
    again = read(write(source, image, options=KEEP).data)
    moved = again.samples.astype(int) - source.samples
    assert np.abs(moved[5:9, 7:11] - 65.5)[source.samples[5:9, 7:11] < 65400].max() <= 1
    moved[5:9, 7:11] = 0
    assert not moved.any()


def test_gray_stays_gray_and_colour_comes_only_where_allowed():
    source = read(LOSSLESS["png-gray-8"]())
    image = source.working.copy()
    image[:4, :4, 0] += 0.2
    kept = write(source, np.clip(image, 0, 1), options=KEEP)
    assert kept.space.kind is Kind.GRAY
    coloured = write(source, np.clip(image, 0, 1), options=OutputOptions(gray="allow-color"))
    assert coloured.space.kind is Kind.RGB
    still_gray = write(source, source.working, options=OutputOptions(gray="allow-color"))
    assert still_gray.space.kind is Kind.GRAY


def test_alpha_grows_with_the_picture():
    source = read(LOSSLESS["png-rgba-8"]())
    doubled = np.repeat(np.repeat(source.working, 2, axis=0), 2, axis=1)
    again = read(write(source, doubled, options=KEEP).data)
    assert again.alpha.shape == (2 * HEIGHT, 2 * WIDTH, 1)
    small = np.asarray(Image.fromarray(again.alpha[..., 0]).resize((WIDTH, HEIGHT), Image.Resampling.BOX), int)
    assert np.abs(small - source.alpha[..., 0]).mean() < 3


@pytest.mark.parametrize("goal", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("name", ["png-rgb-8", "tiff-gray-16", "tiff-cmyk-8", "webp-rgb", "png-palette-4"])
def test_every_kind_goes_into_every_format(name, goal):
    source = read(LOSSLESS[name]())
    encoded = write(source, source.working, options=OutputOptions(format=goal))
    again = read(encoded.data)
    assert again.format is Format(goal)
    # Subsampled chroma of noise and the press profile's round trip move values; nothing is far off.
    assert np.abs(again.working - source.working).mean() < 0.05


def test_what_a_format_cannot_hold_is_refused_or_told():
    deep, clear = read(LOSSLESS["tiff-rgb-16"]()), read(LOSSLESS["png-rgba-8"]())
    told = write(deep, deep.working, options=OutputOptions(format="jpeg"))
    assert [n.code for n in told.notices] == ["bit_depth_reduced"]
    with pytest.raises(UnsupportedOption, match="16 bits"):
        write(deep, deep.working, options=OutputOptions(format="jpeg", bit_depth="16"))
    with pytest.raises(UnsupportedOption, match="transparency"):
        write(clear, clear.working, options=OutputOptions(format="jpeg"))
    with pytest.raises(UnsupportedOption, match="16,383 px"):
        write(deep, np.zeros((2, 17_000, 3), np.float32), options=OutputOptions(format="webp"))


def test_eight_bits_spread_exactly_over_sixteen():
    source = read(LOSSLESS["png-rgb-8"]())
    again = read(write(source, source.working, options=OutputOptions(bit_depth="16")).data)
    assert np.array_equal(again.samples, source.samples.astype(np.uint16) * 257)


def test_tiff_keeps_its_compression():
    for name, scheme in (("tiff-rgb-8-lzw", "lzw"), ("tiff-rgb-8-deflate", "deflate"), ("tiff-rgb-8", "none")):
        source = read(LOSSLESS[name]())
        assert probe(write(source, source.working, options=KEEP).data).compression == scheme


def test_quality_sets_the_size():
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG"))
    sizes = [len(write(source, source.working, options=OutputOptions(quality=q)).data) for q in (30, 95)]
    assert sizes[0] < sizes[1]


def test_the_same_picture_is_written_as_the_same_bytes():
    for name in ("png-rgb-8", "tiff-rgb-16-deflate", "webp-rgb"):
        source = read(LOSSLESS[name]())
        assert len({write(source, source.working, options=KEEP).data for _ in range(3)}) == 1


@pytest.mark.parametrize(
    "data", [b"", b"hello world, this is no picture", b"GIF89a" + bytes(50), b"%PDF-1.7\n", b"<svg/>"]
)
def test_what_is_no_picture_of_ours_is_unreadable(data):
    with pytest.raises(UnreadableImage) as caught:
        read(data)
    assert type(caught.value) is UnreadableImage


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_cut_short_is_truncated_never_half_a_picture(kind, share):
    rng = np.random.default_rng(1)
    data = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(TruncatedImage):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["png-rgb-8", "tiff-rgb-8-deflate"])
def test_damage_that_the_format_can_tell_is_told(name):
    data = bytearray(LOSSLESS[name]())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    with pytest.raises(TruncatedImage):
        read(bytes(data))


def _jpeg(**options):
    rng = np.random.default_rng(1)
    return bytearray(saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG", **options))


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_inside_a_jpeg_is_told_beside_what_could_be_decoded(progressive):
    data = _jpeg(progressive=progressive)
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd3"  # a restart where none belongs
    source = read(bytes(data))
    assert [notice.code for notice in source.notices] == ["input_damaged"]
    assert source.samples.shape == (64, 64, 3)
    assert read(bytes(_jpeg(progressive=progressive))).notices == ()


def test_an_empty_file_is_called_empty():
    with pytest.raises(UnreadableImage, match="the file is empty"):
        read(b"")


def test_a_bomb_is_refused_by_its_header():
    """One row of compressed zeros announces 30,000 x 30,000 pixels; decoding them would need 2.7 GB."""
    bomb = bytearray(LOSSLESS["png-rgb-8"]())
    bomb[16:24] = (30_000).to_bytes(4) * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4)
    with pytest.raises(ImageTooLarge, match="30,000 x 30,000"):
        read(bytes(bomb))
    with pytest.raises(ImageTooLarge):
        probe(LOSSLESS["png-rgb-8"](), limits=Limits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(ImageTooLarge, match="bytes"):
        read(LOSSLESS["png-rgb-8"](), limits=Limits(max_bytes=100))


def test_samples_that_we_do_not_read_are_named():
    with pytest.raises(UnsupportedImage, match="float"):
        read(tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb"))
    with pytest.raises(UnsupportedImage, match="5 channels"):
        read(
            tiff(
                np.zeros((8, 8, 5), np.uint8),
                photometric="rgb",
                planarconfig="contig",
                extrasamples=["unspecified"] * 2,
            )
        )


def test_the_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(LOSSLESS["png-rgba-8"]())
    assert probe(path).format is Format.PNG
    assert read(path).alpha is not None


def test_only_our_four_loaders_can_run():
    import pyvips

    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_buffer(saved(Image.fromarray(levels(8)), "GIF"), "")
    with pytest.raises(pyvips.Error, match="blocked"):
        pyvips.Image.csvload("/etc/hostname")
    assert vips.version() >= "8.15"


def test_the_first_page_is_read_and_the_others_are_mentioned():
    data = tiff(np.stack([levels(8, 3)] * 3), photometric="rgb")
    source = read(data)
    assert (source.width, source.height) == (WIDTH, HEIGHT)
    assert [n.code for n in source.notices] == ["first_page_only"]


def test_probe_says_what_read_finds():
    for make in LOSSLESS.values():
        data = make()
        assert probe(data) == read(data).header
    assert corpus.LOSSLESS is LOSSLESS
