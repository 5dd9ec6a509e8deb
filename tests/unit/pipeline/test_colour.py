"""Colour: networks see sRGB whatever the file holds, and what they did not change is never converted."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import skimage.color
import skimage.data
from PIL import Image, ImageCms

from pipeline import vips
from pipeline.codec import read, write
from pipeline.colour import ColourSpace, Kind, profile_fits
from pipeline.options import OutputOptions
from pipeline.picture import whole
from tests.unit.pipeline.corpus import LOSSLESS, levels, png, saved, tiff

KEEP = OutputOptions()
BOX = np.s_[4:12, 6:20]
WIDE = vips.builtin_profile("p3")
PRESS = vips.builtin_profile("cmyk")


def icc_profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile by hand (ICC.1:2001-04): Pillow makes sRGB only."""
    words = b"test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(words)) + words + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061),
    } | tags
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">III", at + len(body), 0, 0x02400000) + kind + space + pcs
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gray_profile(gamma: float = 1.8) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return icc_profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def scanner_profile() -> bytes:
    """RGB to Lab by a table of the cube's corners, and no way back: what many scanners embed."""
    lab = {0: (0, 128, 128), 1: (82, 207, 20), 2: (224, 49, 209), 3: (248, 106, 222), 4: (136, 208, 195)}
    lab |= {5: (154, 222, 68), 6: (232, 80, 114), 7: (255, 128, 128)}
    # The first channel varies slowest: 4 = red, 2 = green, 1 = blue.
    corners = b"".join(bytes(lab[i]) for i in range(8))
    straight = bytes(range(256)) * 3
    matrix = struct.pack(">9i", *[65536 if i % 4 == 0 else 0 for i in range(9)])
    table = b"mft1\0\0\0\0" + bytes([3, 3, 2, 0]) + matrix + straight + corners + straight
    return icc_profile(b"scnr", b"RGB ", b"Lab ", {b"A2B0": table})


def sources() -> dict[str, bytes]:
    """Each kind of channels with a profile that is not sRGB."""
    return {
        "wide-8": saved(Image.fromarray(levels(8, 3)), "PNG", icc_profile=WIDE),
        "wide-16": tiff(levels(16, 3), photometric="rgb", iccprofile=WIDE),
        "gray-8": saved(Image.fromarray(levels(8)), "PNG", icc_profile=gray_profile()),
        "gray-16": tiff(levels(16), photometric="minisblack", iccprofile=gray_profile()),
        "press-8": tiff(levels(8, 4), photometric="separated", iccprofile=PRESS),
        "press-16": tiff(levels(16, 4), photometric="separated", iccprofile=PRESS),
        "press-without-profile": LOSSLESS["tiff-cmyk-8"](),
    }


NAMES = list(sources())


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_stays_and_unchanged_samples_with_it(name):
    source = read(sources()[name])
    again = read(write(source, whole(source.picture), options=KEEP).data)
    assert np.array_equal(again.samples, source.samples)
    assert again.space == source.space


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_made_in_the_file_s_own_space_and_nowhere_else(name):
    source = read(sources()[name])
    image = whole(source.picture).copy()
    image[BOX] = image[BOX] * 0.5 + 0.2
    again = read(write(source, image, options=KEEP).data)
    outside = np.ones(image.shape[:2], bool)
    outside[BOX] = False
    assert np.array_equal(again.samples[outside], source.samples[outside])
    # Seen again in sRGB, the change is what was asked for; the press profile's gamut is small and its tables coarse.
    wanted, got = image[BOX], whole(again.picture)[BOX]
    if source.is_gray:
        wanted = np.repeat(wanted.mean(axis=-1, keepdims=True), 3, axis=-1)
    assert np.abs(got - wanted).mean() < (0.06 if "press" in name else 0.006)


def test_working_pixels_are_what_a_colour_managed_viewer_shows():
    data = sources()["wide-8"]
    picture = Image.open(io.BytesIO(data))
    to_srgb = ImageCms.profileToProfile(
        picture,
        ImageCms.ImageCmsProfile(io.BytesIO(WIDE)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert np.abs(whole(read(data).picture) * 255 - np.asarray(to_srgb)).max() <= 1.5


def test_a_gray_profile_s_gamma_is_honoured():
    middle = np.full((8, 8), 128, np.uint8)
    working = whole(read(saved(Image.fromarray(middle), "PNG", icc_profile=gray_profile(1.0))).picture)
    # Linear light of 0.5 is 0.735 in sRGB (IEC 61966-2-1).
    assert working[4, 4] == pytest.approx([0.735] * 3, abs=0.01)


def test_srgb_by_another_name_needs_no_transform():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert ColourSpace(kind=Kind.RGB, profile=profile).is_plain
    assert not ColourSpace(kind=Kind.RGB, profile=WIDE).is_plain
    source = read(saved(Image.fromarray(levels(8, 3)), "PNG", icc_profile=profile))
    np.testing.assert_allclose(whole(source.picture) * 255, source.samples, atol=1e-4)


@pytest.mark.parametrize(
    "profile",
    [b"junk" * 100, WIDE[:100], WIDE[:128] + b"\xff" * 300, PRESS],
    ids=["junk", "cut", "no tags", "cmyk"],
)
def test_a_profile_that_does_not_fit_is_ignored_and_told(profile):
    source = read(tiff(levels(8, 3), photometric="rgb", iccprofile=profile))
    assert [n.code for n in source.notices] == ["icc_ignored"]
    assert source.space == ColourSpace(kind=Kind.RGB)


def test_a_profile_fits_its_channels_only():
    assert profile_fits(Kind.GRAY, gray_profile())
    assert profile_fits(Kind.CMYK, PRESS)
    assert not profile_fits(Kind.RGB, gray_profile())
    assert not profile_fits(Kind.GRAY, WIDE)


def test_what_was_printed_in_black_alone_can_be_lightened():
    """The profile mixes its blacks of all inks; taking some of each away from black alone left it too dark."""
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[..., 3] = np.linspace(100, 255, 64)
    source = read(tiff(inks, photometric="separated", iccprofile=PRESS))
    image = whole(source.picture) + np.float32(0.2)
    again = read(write(source, image, options=KEEP).data)
    assert np.abs(whole(again.picture) - image).max() < 8 / 255


def test_cmyk_stays_cmyk_where_it_can_and_becomes_tagged_srgb_where_not():
    source = read(sources()["press-8"])
    jpeg = write(source, whole(source.picture), options=OutputOptions(format="jpeg"))
    assert read(jpeg.data).space == source.space
    png = write(source, whole(source.picture), options=OutputOptions(format="png"))
    assert [n.code for n in png.notices] == ["converted_to_srgb"]
    again = read(png.data)
    assert again.space.kind is Kind.RGB
    assert again.space.is_plain
    assert again.space.profile is not None
    assert np.abs(whole(again.picture) - whole(source.picture)).max() <= 0.5 / 255 + 1e-4


def test_cmyk_without_a_profile_is_told():
    assert [n.code for n in read(LOSSLESS["tiff-cmyk-8"]()).notices] == ["cmyk_without_profile"]


def test_stripping_keeps_the_profile_that_gives_samples_their_meaning():
    source = read(sources()["wide-8"])
    again = read(write(source, whole(source.picture), options=OutputOptions(metadata_policy="strip")).data)
    assert again.space.profile == WIDE


def test_a_scanner_s_profile_without_a_way_back_is_kept_and_told():
    source = read(tiff(levels(16, 3), photometric="rgb", iccprofile=scanner_profile()))
    assert [n.code for n in source.notices] == ["profile_one_way"]
    image = whole(source.picture).copy()
    image[BOX] = np.clip(image[BOX] + 0.05, 0, 1)
    again = read(write(source, image, options=KEEP).data)
    assert again.space.profile == scanner_profile()
    moved = again.samples.astype(int) - source.samples
    assert np.median(moved[BOX]) == pytest.approx(0.05 * 65535, abs=2)
    moved[BOX] = 0
    assert not moved.any()


def matrix_profile(primaries: list[tuple[float, float, float]], gamma: float) -> bytes:
    """An RGB profile of three primaries (XYZ under D50) and one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in xyz))
    return icc_profile(b"mntr", b"RGB ", b"XYZ ", tags)


#: Adobe RGB (1998), section 4.3.4.2, adapted to D50.
ADOBE_LIKE = matrix_profile(
    [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)], 2.2
)

#: Profile, Pillow's name of its channels, how far a change may be off in CIEDE2000: on average and at most. Eight bits
#: a sample, twice, and black point compensation; the press tables are coarse.
MANAGED = {
    "adobe rgb": (ADOBE_LIKE, "RGB", 0.6, 2.0),
    "display p3": (WIDE, "RGB", 0.6, 2.0),
    "gray 1.8": (gray_profile(1.8), "L", 0.6, 2.0),
    "gray 2.2": (gray_profile(2.2), "L", 0.6, 2.0),
    "press": (PRESS, "CMYK", 2.0, 6.0),
}
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def converted(image: Image.Image, before: ImageCms.ImageCmsProfile, after: ImageCms.ImageCmsProfile, mode: str):
    """By Pillow's lcms, as a colour-managed viewer does it."""
    return ImageCms.profileToProfile(
        image,
        before,
        after,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        outputMode=mode,
    )


@pytest.mark.parametrize("name", MANAGED)
def test_a_change_looks_as_another_colour_management_says_it_should(name):
    profile, mode, mean, most = MANAGED[name]
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    photo = Image.fromarray(skimage.data.astronaut()).resize((96, 96), Image.Resampling.BOX)
    stored = converted(photo, SRGB_PROFILE, own, mode)
    source = read(saved(stored, "TIFF", icc_profile=profile))
    assert source.notices == ()
    image = whole(source.picture).copy()
    box = np.s_[20:70, 30:80]
    tint = (0.02, 0.0, -0.03) if mode == "RGB" else 0.0
    image[box] = np.clip(image[box] * 0.8 + 0.08 + np.array(tint), 0, 1)
    data = write(source, image, options=KEEP).data
    after = Image.open(io.BytesIO(data))
    before = np.asarray(stored).reshape(96, 96, -1).copy()
    now = np.asarray(after).reshape(96, 96, -1).copy()
    before[box] = now[box] = 0
    assert np.array_equal(before, now), "outside of the change every sample is the source's"
    shown = np.asarray(converted(after, own, SRGB_PROFILE, "RGB"))[box]
    wanted = np.rint(image[box] * 255).astype(np.uint8)
    off = skimage.color.deltaE_ciede2000(skimage.color.rgb2lab(shown), skimage.color.rgb2lab(wanted))
    assert off.mean() < mean
    assert np.quantile(off, 0.99) < most


#: Adobe RGB (1998)'s white, red, green, blue.
_ADOBE_XY = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def png_chunks(exponent: float, chromaticities: tuple[float, ...] | None = None) -> list[tuple[bytes, bytes]]:
    told = [(b"gAMA", struct.pack(">I", round(exponent * 100_000)))]
    if chromaticities:
        told.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in chromaticities))))
    return told


def test_a_png_s_gamma_and_primaries_mean_what_a_profile_of_the_same_means():
    data = png(levels(8, 3), 8, *png_chunks(1 / 2.2, _ADOBE_XY))
    twin = saved(Image.fromarray(levels(8, 3)), "PNG", icc_profile=ADOBE_LIKE)
    source = read(data)
    assert source.notices == ()
    assert np.abs(whole(source.picture) - whole(read(twin).picture)).max() < 1.5 / 255
    for goal in ("png", "tiff", "jpeg"):
        again = read(write(source, whole(source.picture), options=OutputOptions(format=goal)).data)
        assert again.space == source.space


@pytest.mark.parametrize("bits", [8, 16])
def test_a_gray_png_s_gamma_is_honoured_and_its_samples_stay(bits):
    source = read(png(levels(bits), bits, *png_chunks(1 / 1.8)))
    assert source.notices == ()
    linear = (source.samples[..., 0] / (2**bits - 1)) ** 1.8
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(whole(source.picture)[..., 0] - shown).max() < 0.01
    again = read(write(source, whole(source.picture), options=KEEP).data)
    assert np.array_equal(again.samples, source.samples)
    assert again.space == source.space


@pytest.mark.parametrize(
    "chunks",
    [
        png_chunks(0.45455),
        png_chunks(0.45455, (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)),
        [(b"sRGB", b"\0"), *png_chunks(1.0)],
        png_chunks(0.0),
        png_chunks(0.45455, (0.0,) * 8),
        [(b"gAMA", b"\0")],
    ],
    ids=["gamma", "gamma and primaries", "sRGB before gamma", "no curve", "no colours", "cut"],
)
def test_what_means_srgb_or_nothing_needs_no_profile(chunks):
    source = read(png(levels(8, 3), 8, *chunks))
    assert source.space == ColourSpace(kind=Kind.RGB)
