"""Colour: networks see sRGB whatever the file holds, and what they did not change is never converted."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline import vips
from pipeline.codec import read, write
from pipeline.colour import ColourSpace, Kind, profile_fits
from pipeline.options import OutputOptions
from tests.unit.pipeline.corpus import LOSSLESS, levels, saved, tiff

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
    again = read(write(source, source.working, options=KEEP).data)
    assert np.array_equal(again.samples, source.samples)
    assert again.space == source.space


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_made_in_the_file_s_own_space_and_nowhere_else(name):
    source = read(sources()[name])
    image = source.working.copy()
    image[BOX] = image[BOX] * 0.5 + 0.2
    again = read(write(source, image, options=KEEP).data)
    outside = np.ones(image.shape[:2], bool)
    outside[BOX] = False
    assert np.array_equal(again.samples[outside], source.samples[outside])
    # Seen again in sRGB, the change is what was asked for; the press profile's gamut is small and its tables coarse.
    wanted, got = image[BOX], again.working[BOX]
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
    assert np.abs(read(data).working * 255 - np.asarray(to_srgb)).max() <= 1.5


def test_a_gray_profile_s_gamma_is_honoured():
    middle = np.full((8, 8), 128, np.uint8)
    working = read(saved(Image.fromarray(middle), "PNG", icc_profile=gray_profile(1.0))).working
    # Linear light of 0.5 is 0.735 in sRGB (IEC 61966-2-1).
    assert working[4, 4] == pytest.approx([0.735] * 3, abs=0.01)


def test_srgb_by_another_name_needs_no_transform():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert ColourSpace(kind=Kind.RGB, profile=profile).is_plain
    assert not ColourSpace(kind=Kind.RGB, profile=WIDE).is_plain
    source = read(saved(Image.fromarray(levels(8, 3)), "PNG", icc_profile=profile))
    np.testing.assert_allclose(source.working * 255, source.samples, atol=1e-4)


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


def test_cmyk_stays_cmyk_where_it_can_and_becomes_tagged_srgb_where_not():
    source = read(sources()["press-8"])
    jpeg = write(source, source.working, options=OutputOptions(format="jpeg"))
    assert read(jpeg.data).space == source.space
    png = write(source, source.working, options=OutputOptions(format="png"))
    assert [n.code for n in png.notices] == ["converted_to_srgb"]
    again = read(png.data)
    assert again.space.kind is Kind.RGB
    assert again.space.is_plain
    assert again.space.profile is not None
    assert np.abs(again.working - source.working).max() <= 0.5 / 255 + 1e-4


def test_cmyk_without_a_profile_is_told():
    assert [n.code for n in read(LOSSLESS["tiff-cmyk-8"]()).notices] == ["cmyk_without_profile"]


def test_stripping_keeps_the_profile_that_gives_samples_their_meaning():
    source = read(sources()["wide-8"])
    again = read(write(source, source.working, options=OutputOptions(metadata_policy="strip")).data)
    assert again.space.profile == WIDE


def test_a_scanner_s_profile_without_a_way_back_is_kept_and_told():
    source = read(tiff(levels(16, 3), photometric="rgb", iccprofile=scanner_profile()))
    assert [n.code for n in source.notices] == ["profile_one_way"]
    image = source.working.copy()
    image[BOX] = np.clip(image[BOX] + 0.05, 0, 1)
    again = read(write(source, image, options=KEEP).data)
    assert again.space.profile == scanner_profile()
    moved = again.samples.astype(int) - source.samples
    assert np.median(moved[BOX]) == pytest.approx(0.05 * 65535, abs=2)
    moved[BOX] = 0
    assert not moved.any()
