"""Pictures come in whole and go out as the same kind of picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline import vips
from pipeline.codec import Format, Limits, probe, read, write
from pipeline.colour import Kind
from pipeline.errors import ImageTooLarge, TruncatedImage, UnreadableImage, UnsupportedImage, UnsupportedOption
from pipeline.options import OutputOptions
from pipeline.picture import whole
from tests.unit.pipeline import corpus
from tests.unit.pipeline.corpus import HEIGHT, LOSSLESS, LOSSY, WIDTH, levels, saved, tiff

KEEP = OutputOptions()


def independently(data: bytes) -> np.ndarray:
    """The samples as another library reads them: tifffile, or Pillow where tifffile lacks the compression."""
    if data[:2] in {b"II", b"MM"} and probe(data).compression in {"none", "deflate"}:
        return tifffile.imread(io.BytesIO(data))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("name", LOSSLESS)
def test_unchanged_samples_come_out_bit_identical(name):
    source = read(LOSSLESS[name]())
    encoded = write(source, whole(source.picture), options=KEEP)
    again = read(encoded.data)
    assert encoded.format is source.format
    assert (again.bit_depth, again.space.kind) == (source.bit_depth, source.space.kind)
    assert np.array_equal(again.samples, source.samples)
    assert (again.alpha is None) == (source.alpha is None)
    if source.alpha is not None:
        assert np.array_equal(again.alpha, source.alpha)
    assert encoded.changed_px == 0


@pytest.mark.parametrize("name", LOSSY)
def test_what_a_lossy_file_decodes_to_is_written_losslessly(name):
    source = read(LOSSY[name]())
    goal = "tiff" if source.space.kind is Kind.CMYK else "png"
    again = read(write(source, whole(source.picture), options=OutputOptions(format=goal)).data)
    assert np.array_equal(again.samples, source.samples)
    if source.alpha is not None:
        assert np.array_equal(again.alpha, source.alpha)


@pytest.mark.parametrize("name", [name for name in LOSSY if name != "avif-alpha"])
def test_another_decoder_sees_the_same_lossy_picture(name):
    """Within the freedom that JPEG's chroma gives decoders; CMYK by Adobe's inversion or not."""
    source = read(LOSSY[name]())
    image = Image.open(io.BytesIO(LOSSY[name]()))
    seen = np.asarray(image).reshape(HEIGHT, WIDTH, -1).astype(int)
    whole = source.samples if source.alpha is None else np.concatenate([source.samples, source.alpha], axis=-1)
    assert np.abs(seen - whole).max() <= 3


#: The samples as they went in, for what Pillow and tifffile show otherwise.
FEW_LEVELS = {
    "png-gray-1": levels(1) * 255,
    "png-gray-2": levels(2) * 85,
    "png-gray-4": levels(4) * 17,
    "tiff-gray-1": levels(1) * 255,
    "tiff-gray-1-white-is-0": levels(1) * 255,
    "tiff-gray-1-fax-4": levels(1) * 255,
    "tiff-gray-1-fax-3": levels(1) * 255,
    "tiff-gray-1-packbits": levels(1) * 255,
    "tiff-gray-2": levels(2) * 85,
    "tiff-gray-4": levels(4) * 17,
    "tiff-gray-4-even": levels(4)[:, :-1] * 17,
    "tiff-gray-8-white-is-0": 255 - levels(8),
    "tiff-gray-16-white-is-0": 65535 - levels(16),
    "tiff-rgb-8-planar": levels(8, 3),
    "tiff-rgb-16-planar": levels(16, 3),
    "tiff-gray-16-of-byte-values": levels(8),
    "png-gray-16-of-byte-values": levels(8),
}


@pytest.mark.parametrize("name", FEW_LEVELS)
def test_levels_are_read_as_they_were_meant(name):
    source = read(LOSSLESS[name]())
    assert np.array_equal(source.samples.squeeze(), FEW_LEVELS[name])
    assert source.bit_depth == (16 if "-16" in name else 8)


@pytest.mark.parametrize("name", [n for n in FEW_LEVELS if n.split("-")[2] in "124"])
def test_few_bits_come_back_in_as_few_where_nothing_changed(name):
    source = read(LOSSLESS[name]())
    encoded = write(source, whole(source.picture), options=KEEP)
    again = probe(encoded.data)
    # libvips spoils the last column of such TIFF files; see encode.
    spoilt = name == "tiff-gray-4"
    assert again.file_bits == encoded.bit_depth == (8 if spoilt else source.header.file_bits)
    assert [notice.code for notice in encoded.notices] == (["written_as_8_bit"] if spoilt else [])
    if "fax" in name:
        assert again.compression == "ccittfax4"
    changed = whole(source.picture).copy()
    changed[3, 3] = 0.4
    encoded = write(source, changed, options=KEEP)
    assert probe(encoded.data).file_bits == 8
    assert [notice.code for notice in encoded.notices] == ["written_as_8_bit"]
    assert write(source, whole(source.picture), options=OutputOptions(bit_depth="8")).bit_depth == 8


def test_a_palette_is_written_as_colours_and_told():
    for name in ("png-palette-1", "png-palette-8-transparent", "tiff-palette"):
        source = read(LOSSLESS[name]())
        assert [notice.code for notice in write(source, whole(source.picture), options=KEEP).notices] == [
            "written_as_8_bit"
        ]


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_multiplied_by_alpha_are_told_apart_from_it(bits):
    stored = corpus.associated(bits)
    source = read(LOSSLESS[f"tiff-rgba-{bits}-associated"]())
    assert [notice.code for notice in source.notices] == ["alpha_unassociated"]
    assert np.array_equal(source.alpha[..., 0], stored[..., 3])
    top = 2**bits - 1
    plain = np.clip(stored[..., :3] * (top / np.maximum(stored[..., 3:], 1)), 0, top)
    assert np.abs(source.samples - plain).max() <= 1


def test_a_scanner_s_infrared_channel_stays_one_and_is_no_transparency():
    source = read(LOSSLESS["tiff-rgb-16-infrared"]())
    assert [notice.code for notice in source.notices] == ["extra_channel_kept"]
    after = tifffile.TiffFile(io.BytesIO(write(source, whole(source.picture), options=KEEP).data)).pages[0]
    assert after.tags["ExtraSamples"].value == (0,)
    assert np.array_equal(after.asarray(), tifffile.imread(io.BytesIO(LOSSLESS["tiff-rgb-16-infrared"]())))


#: Other libraries' readings of modes that they show as they are.
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in LOSSLESS
        if n not in FEW_LEVELS
        and not n.startswith(("png-palette", "tiff-palette", "tiff-cmyk", "png-gray-8-transparent"))
        and not n.endswith(("associated", "-16-interlaced", "rgb-16", "rgba-16", "alpha-16"))
    ],
)
def test_another_library_sees_the_same_samples_before_and_after(name):
    data = LOSSLESS[name]()
    source = read(data)
    after = write(source, whole(source.picture), options=KEEP).data
    assert np.array_equal(independently(data), independently(after))


@pytest.mark.parametrize("name", ["tiff-rgb-16", "tiff-rgba-16", "tiff-gray-alpha-16", "png-rgb-16-interlaced"])
def test_sixteen_bits_of_several_channels_are_written_as_they_were_made(name):
    """Pillow reads these with 8 bits, so PNG is unpacked by hand."""
    source = read(LOSSLESS[name]())
    data = write(source, whole(source.picture), options=OutputOptions(format="tiff")).data
    channels = 3 if "rgb-" in name else 4 if "rgba" in name else 2
    made = tifffile.imread(io.BytesIO(LOSSLESS[name]())) if name.startswith("tiff") else levels(16, channels)
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), made)


def test_sixteen_bits_reach_the_networks():
    working = whole(read(LOSSLESS["tiff-gray-16"]()).picture)
    assert working.dtype == np.float32
    assert working.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(working[..., 0] * 65535, levels(16), atol=0.05)


def test_a_dark_16_bit_scan_stays_dark():
    """The seed project guesses 8 bits where no value is above 256; the file decides here."""
    source = read(LOSSLESS["png-gray-16-dark"]())
    assert source.bit_depth == 16
    assert [notice.code for notice in source.notices] == ["nearly_black"]
    assert whole(source.picture).max() < 0.01


def test_a_change_is_carried_to_the_full_depth():
    source = read(LOSSLESS["tiff-rgb-16"]())
    image = whole(source.picture).copy()
    image[5:9, 7:11] += 0.001
    again = read(write(source, image, options=KEEP).data)
    moved = again.samples.astype(int) - source.samples
    assert np.abs(moved[5:9, 7:11] - 65.5)[source.samples[5:9, 7:11] < 65400].max() <= 1
    moved[5:9, 7:11] = 0
    assert not moved.any()


def test_gray_stays_gray_and_colour_comes_only_where_allowed():
    source = read(LOSSLESS["png-gray-8"]())
    image = whole(source.picture).copy()
    image[:4, :4, 0] += 0.2
    kept = write(source, np.clip(image, 0, 1), options=KEEP)
    assert kept.space.kind is Kind.GRAY
    coloured = write(source, np.clip(image, 0, 1), options=OutputOptions(gray="allow-color"))
    assert coloured.space.kind is Kind.RGB
    still_gray = write(source, whole(source.picture), options=OutputOptions(gray="allow-color"))
    assert still_gray.space.kind is Kind.GRAY


@pytest.mark.parametrize("name", ["png-rgba-8", "png-gray-alpha-16", "tiff-rgba-16", "webp-rgba"])
def test_alpha_grows_with_the_picture(name):
    source = read(LOSSLESS[name]())
    doubled = np.repeat(np.repeat(whole(source.picture), 2, axis=0), 2, axis=1)
    again = read(write(source, doubled, options=KEEP).data)
    assert again.alpha.shape == (2 * HEIGHT, 2 * WIDTH, 1)
    top = np.iinfo(again.alpha.dtype).max
    small = again.alpha[..., 0].reshape(HEIGHT, 2, WIDTH, 2).mean(axis=(1, 3))
    assert np.abs(small - source.alpha[..., 0]).mean() < 0.03 * top


@pytest.mark.parametrize("scale", [2, 2.7, 4])
def test_a_cut_out_gets_neither_a_ghost_nor_holes(scale):
    """Lanczos by itself leaves 5 % of the colours that lie under what is transparent around the edge."""
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[..., 3] = 0
    pixels[10:30, 12:33, 3] = 255
    source = read(saved(Image.fromarray(pixels), "PNG"))
    size = round(40 * scale)
    alpha = read(write(source, np.zeros((size, size, 3), np.float32), options=KEEP).data).alpha[..., 0]
    at = (np.arange(size) + 0.5) / scale - 0.5
    assert not alpha[(at < 9) | (at > 30)].any()
    assert not alpha[:, (at < 11) | (at > 33)].any()
    inside = alpha[np.ix_((at >= 10) & (at <= 29), (at >= 12) & (at <= 32))]
    assert inside.min() == 255
    edge = alpha[size // 2, (at > 11) & (at < 12)].astype(int)
    assert (np.diff(edge) > 0).all()
    assert 0 < edge.min() < edge.max() < 255


def test_colours_under_transparent_pixels_stay():
    pixels = np.dstack([levels(8, 3), np.zeros((HEIGHT, WIDTH), np.uint8)])
    webp = {"lossless": True, "exact": True}
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", webp)):
        source = read(saved(Image.fromarray(pixels), kind, **options))
        for goal in ("auto", "png", "tiff"):
            again = read(write(source, whole(source.picture), options=OutputOptions(format=goal)).data)
            assert np.array_equal(again.samples, levels(8, 3))
            assert not again.alpha.any()


@pytest.mark.parametrize("goal", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("name", ["png-rgb-8", "tiff-gray-16", "tiff-cmyk-8", "webp-rgb", "png-palette-4"])
def test_every_kind_goes_into_every_format(name, goal):
    source = read(LOSSLESS[name]())
    encoded = write(source, whole(source.picture), options=OutputOptions(format=goal))
    again = read(encoded.data)
    assert again.format is Format(goal)
    # Subsampled chroma of noise and the press profile's round trip move values; nothing is far off.
    assert np.abs(whole(again.picture) - whole(source.picture)).mean() < 0.05


def test_what_a_format_cannot_hold_is_refused_or_told():
    deep, clear = read(LOSSLESS["tiff-rgb-16"]()), read(LOSSLESS["png-rgba-8"]())
    told = write(deep, whole(deep.picture), options=OutputOptions(format="jpeg"))
    assert [n.code for n in told.notices] == ["bit_depth_reduced"]
    with pytest.raises(UnsupportedOption, match="16 bits"):
        write(deep, whole(deep.picture), options=OutputOptions(format="jpeg", bit_depth="16"))
    with pytest.raises(UnsupportedOption, match="transparency"):
        write(clear, whole(clear.picture), options=OutputOptions(format="jpeg"))
    with pytest.raises(UnsupportedOption, match="16,383 px"):
        write(deep, np.zeros((2, 17_000, 3), np.float32), options=OutputOptions(format="webp"))


def test_eight_bits_spread_exactly_over_sixteen():
    source = read(LOSSLESS["png-rgb-8"]())
    again = read(write(source, whole(source.picture), options=OutputOptions(bit_depth="16")).data)
    assert np.array_equal(again.samples, source.samples.astype(np.uint16) * 257)


def test_tiff_keeps_its_compression():
    for name, scheme in (("tiff-rgb-8-lzw", "lzw"), ("tiff-rgb-8-deflate", "deflate"), ("tiff-rgb-8", "none")):
        source = read(LOSSLESS[name]())
        assert probe(write(source, whole(source.picture), options=KEEP).data).compression == scheme


def test_quality_sets_the_size():
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG"))
    sizes = [len(write(source, whole(source.picture), options=OutputOptions(quality=q)).data) for q in (30, 95)]
    assert sizes[0] < sizes[1]


def test_the_same_picture_is_written_as_the_same_bytes():
    for name in ("png-rgb-8", "tiff-rgb-16-deflate", "webp-rgb"):
        source = read(LOSSLESS[name]())
        assert len({write(source, whole(source.picture), options=KEEP).data for _ in range(3)}) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, I am no picture",
        b"<!DOCTYPE html><html>",
        b"%PDF-1.7\n",
        b"<svg/>",
        b"\0\0\0\x18ftypmp42",
    ],
)
def test_what_is_no_picture_of_ours_is_unreadable(data):
    with pytest.raises(UnreadableImage) as caught:
        read(data)
    assert type(caught.value) is UnreadableImage


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_file_cut_short_is_truncated_never_half_a_picture(kind, share):
    rng = np.random.default_rng(1)
    data = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(TruncatedImage):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_a_file_cut_anywhere_is_refused_or_lost_nothing(name):
    """Never a traceback, never a part of the picture as if it were the whole."""
    data = (LOSSLESS | LOSSY)[name]()
    whole_one = read(data)
    refused = 0
    for size in np.linspace(1, len(data) - 1, 15).astype(int):
        try:
            source = read(data[:size])
        except UnreadableImage:
            refused += 1
        else:
            assert np.array_equal(source.samples, whole_one.samples), f"cut to {size} of {len(data)} bytes"
    assert refused >= 10


def test_words_of_a_file_that_are_no_text_end_in_no_traceback(capfd):
    """libvips quotes them in its warnings, and pyvips took every warning for UTF-8."""
    profile = vips.builtin_profile("p3")
    damaged = profile[:200] + b"\xff" * 40 + profile[240:]
    chunk = b"ICC \xb5\xff\0\0" + zlib.compress(damaged)
    source = read(corpus.png(levels(8, 3), 8, (b"iCCP", chunk)))
    assert source.samples.shape == (HEIGHT, WIDTH, 3)
    assert "Traceback" not in capfd.readouterr().err


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

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4)
    with pytest.raises(ImageTooLarge, match="30,000 x 30,000"):
        read(bytes(bomb))
    with pytest.raises(ImageTooLarge):
        probe(LOSSLESS["png-rgb-8"](), limits=Limits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(ImageTooLarge, match="bytes"):
        read(LOSSLESS["png-rgb-8"](), limits=Limits(max_bytes=100))


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_a_phone_s_heic_is_refused_with_what_to_do(brand):
    """The libvips that we install has no HEVC decoder."""
    with pytest.raises(UnsupportedImage, match="export the photo as JPEG"):
        read(b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1heic" + bytes(100))


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_numbers_that_are_no_levels_are_refused(dtype):
    with pytest.raises(UnsupportedImage, match="not read"):
        read(tiff(np.ones((4, 4), dtype), photometric="minisblack"))


def test_bombs_of_the_formats_that_are_only_read_are_refused_by_their_headers():
    gif = bytearray(saved(Image.new("P", (16, 16)), "GIF"))
    gif[6:10] = struct.pack("<HH", 40_000, 40_000)
    frame = gif.find(b",\0\0\0\0" + struct.pack("<HH", 16, 16))
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 40_000, 40_000)
    avif = bytearray(LOSSY["avif"]())
    size = avif.find(b"ispe") + 8
    avif[size : size + 8] = struct.pack(">II", 40_000, 40_000)
    for bomb in (gif, avif):
        with pytest.raises(ImageTooLarge, match="40,000 x 40,000"):
            read(bytes(bomb))


def test_a_compression_that_is_not_read_here_is_named():
    data = tiff(levels(8, 3), photometric="rgb")
    at = data.find(struct.pack("<HHI", 259, 3, 1)) + 8
    with pytest.raises(UnsupportedImage, match="compression 50000 is not read; save it with LZW"):
        read(data[:at] + struct.pack("<I", 50_000) + data[at + 4 :])


def test_samples_that_we_do_not_read_are_named():
    with pytest.raises(UnsupportedImage, match="lab"):
        read(pyvips.Image.new_from_array(levels(8, 3)).colourspace("lab").tiffsave_buffer())
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


def test_only_the_loaders_of_our_formats_can_run(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P5 1 1 255\n\0")
    for load in (pyvips.Image.csvload, pyvips.Image.vipsload, pyvips.Image.svgload, pyvips.Image.rawload):
        with pytest.raises(pyvips.Error):
            load(str(tmp_path / "a.ppm"), *([1, 1, 1] if load is pyvips.Image.rawload else []))
    with pytest.raises(pyvips.Error, match="blocked"):
        pyvips.Image.csvload("/etc/hostname")
    assert vips.version() >= "8.15"


def pages(kind: str) -> bytes:
    """Three pages, each of another shade; the third page of a TIFF file has another size and depth."""
    shades = [np.full((HEIGHT, WIDTH, 3), 40 + 60 * i, np.uint8) for i in range(3)]
    if kind == "tiff":
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as file:
            for shade in (shades[0], shades[1], shades[2][:10].astype(np.uint16) * 257):
                file.write(shade, photometric="rgb", metadata=None, description=f"shade {shade[0, 0, 0]}")
        return buffer.getvalue()
    first, *others = (Image.fromarray(shade) for shade in shades)
    options = {"lossless": True} if kind == "webp" else {}
    return saved(first, kind.upper(), save_all=True, append_images=others, duration=100, **options)


@pytest.mark.parametrize("kind", ["tiff", "webp", "gif"])
def test_the_first_page_is_read_and_a_notice_says_how_to_get_another(kind):
    source = read(pages(kind))
    assert (source.width, source.height) == (WIDTH, HEIGHT)
    assert abs(int(source.samples[5, 5, 0]) - 40) <= 3
    assert [n.code for n in source.notices] == ["first_page_only"]
    assert "first of 3 pages" in source.notices[0].detail
    assert "option page" in source.notices[0].detail


@pytest.mark.parametrize("kind", ["tiff", "webp", "gif"])
def test_any_page_can_be_asked_for(kind):
    data = pages(kind)
    for page in (1, 2):
        source = read(data, page=page)
        assert probe(data, page=page) == source.header
        assert abs(int(source.samples[5, 5, 0]) - (40 + 60 * (page - 1))) <= 3
    assert read(data, page=2).notices == ()
    with pytest.raises(UnsupportedOption, match="no page 4: the file has 3 pages"):
        read(data, page=4)
    with pytest.raises(UnsupportedOption, match="no page 0"):
        read(data, page=0)


def test_a_page_has_its_own_size_depth_and_words():
    source = read(pages("tiff"), page=3)
    assert (source.height, source.bit_depth) == (10, 16)
    assert source.samples[5, 5, 0] == 160 * 257
    written = write(source, whole(source.picture), options=KEEP).data
    assert tifffile.TiffFile(io.BytesIO(written)).pages[0].description == f"shade {160 * 257}"
    assert probe(written).pages == 1


@pytest.mark.parametrize("name", ["jpeg-rgb", "avif"])
def test_a_picture_without_pages_has_only_page_1(name):
    assert read(LOSSY[name](), page=1).notices == ()
    with pytest.raises(UnsupportedOption, match="only one page"):
        read(LOSSY[name](), page=2)


def test_a_gif_becomes_a_png_with_the_same_pixels_and_transparency():
    image = Image.fromarray(levels(8, 3)).quantize(40)
    data = saved(image, "GIF", transparency=3)
    source = read(data)
    assert source.header.palette
    encoded = write(source, whole(source.picture), options=KEEP)
    assert encoded.format is Format.PNG
    assert {notice.code for notice in encoded.notices} == {"format_changed", "written_as_8_bit"}
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    after = np.asarray(Image.open(io.BytesIO(encoded.data)))
    assert np.array_equal(after[..., 3], shown[..., 3])
    assert np.array_equal(after[shown[..., 3] > 0], shown[shown[..., 3] > 0])


def test_an_avif_becomes_a_png_of_its_own_depth_and_white_stays_white():
    source = read(LOSSY["avif"]())
    encoded = write(source, whole(source.picture), options=KEEP)
    assert (encoded.format, encoded.bit_depth) == (Format.PNG, 8)
    assert [notice.code for notice in encoded.notices] == ["format_changed"]
    deep = np.concatenate([levels(10, 3)[:-1], np.full((1, WIDTH, 3), 1023)]).astype(np.uint16)
    source = read(corpus.avif_10_bit(deep))
    assert (source.bit_depth, source.header.file_bits) == (16, 10)
    assert [notice.code for notice in write(source, whole(source.picture), options=KEEP).notices] == ["format_changed"]
    assert np.abs(source.samples / 65535 - deep / 1023).max() < 1e-4
    assert source.samples.max() == 65535


def _recoloured(primaries: int, curve: int) -> bytes:
    data = bytearray(LOSSY["avif"]())
    at = data.find(b"colrnclx")
    assert at > 0
    data[at + 8 : at + 12] = primaries.to_bytes(2) + curve.to_bytes(2)
    return bytes(data)


def test_an_avif_s_own_colours_are_honoured_or_refused():
    assert read(_recoloured(1, 13)).space.profile is None
    assert read(_recoloured(12, 13)).space.profile == vips.builtin_profile("p3")
    with pytest.raises(UnsupportedImage, match="curve 16"):
        read(_recoloured(9, 16))


def test_probe_says_what_read_finds():
    for make in LOSSLESS.values():
        data = make()
        assert probe(data) == read(data).header
    assert corpus.LOSSLESS is LOSSLESS


@pytest.mark.parametrize(("compression", "damage"), [(None, "cut off"), ("zlib", "cut off"), ("zlib", "overwritten")])
def test_a_tile_that_cannot_be_decoded_is_damage_and_not_black(compression, damage):
    """libvips paints it black and goes on; a restored picture would have had black squares without a word."""
    file = bytearray(tiff(levels(8, 3), photometric="rgb", tile=(16, 16), compression=compression))
    if damage == "cut off":
        del file[-100:]
    else:
        file[-100:-80] = b"\xff" * 20
    with pytest.raises(TruncatedImage):
        read(bytes(file))
