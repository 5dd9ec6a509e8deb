"""What a file says beside its pixels survives, but for what is no longer true."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from pipeline import vips
from pipeline.codec import probe, read, write
from pipeline.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from pipeline.exif import Exif, from_block
from pipeline.ifd import Layout, Value
from pipeline.options import OutputOptions
from pipeline.picture import whole
from pipeline.xmp import SourceType, is_sound, mark
from tests.unit.pipeline.corpus import HEIGHT, WIDTH, levels, saved, tiff

WIDE = vips.builtin_profile("p3")
KEEP, STRIP = OutputOptions(), OutputOptions(metadata_policy="strip")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="urn:a" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>Anna</dc:creator>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def with_exif(kind: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x013B] = "Anna Atkins"
    exif.get_ifd(0x8769)[0x9003] = "1951:05:03 10:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return saved(Image.fromarray(levels(8, 3)), kind, exif=exif, dpi=(300, 300))


def exif_of(data: bytes) -> Image.Exif:
    return Image.open(io.BytesIO(data)).getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_is_kept_and_its_sizes_are_made_true(kind):
    source = read(with_exif(kind))
    doubled = np.repeat(np.repeat(whole(source.picture), 2, axis=0), 2, axis=1)
    exif = exif_of(write(source, doubled, options=KEEP).data)
    assert exif[0x013B] == "Anna Atkins"
    assert exif.get_ifd(0x8769)[0x9003] == "1951:05:03 10:00:00"
    assert exif.get_ifd(0x8825)[1] == "N"
    assert exif.get_ifd(0x8769)[0xA002] == 2 * WIDTH


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_strip_leaves_no_word_of_the_source(kind):
    source = read(with_exif(kind))
    data = write(source, whole(source.picture), options=STRIP).data
    assert b"Anna" not in data
    assert b"1951" not in data
    assert 0x8825 not in exif_of(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_orientation_is_in_the_pixels_and_its_tag_reset(kind, orientation):
    data = with_exif(kind, orientation)
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    source = read(data)
    assert (source.height, source.width) == upright.shape[:2] == (probe(data).height, probe(data).width)
    # Two JPEG decoders may differ by a level.
    assert np.abs(source.samples.astype(int) - upright).max() <= 3
    written = write(source, whole(source.picture), options=OutputOptions(format="png")).data
    assert exif_of(written).get(0x0112, 1) == 1
    kept = write(source, whole(source.picture), options=KEEP).data
    assert exif_of(kept).get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_print_size_stays_as_the_picture_grows(kind):
    source = read(saved(Image.fromarray(levels(8, 3)), kind, dpi=(300, 300)))
    doubled = np.repeat(np.repeat(whole(source.picture), 2, axis=0), 2, axis=1)
    dpi = Image.open(io.BytesIO(write(source, doubled, options=KEEP).data)).info["dpi"]
    assert dpi == pytest.approx((600, 600), abs=0.1)


def test_an_unknown_resolution_is_not_made_up():
    source = read(tiff(levels(8, 3), photometric="rgb"))
    assert source.metadata.resolution is None
    assert Image.open(io.BytesIO(write(source, whole(source.picture), options=KEEP).data)).info["dpi"] == (72, 72)


def test_xmp_iptc_and_captions_travel():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "The harvest")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    source = read(saved(Image.fromarray(levels(8)), "PNG", pnginfo=info))
    assert source.metadata.xmp == XMP
    after = Image.open(io.BytesIO(write(source, whole(source.picture), options=KEEP).data))
    assert after.info["Title"] == "The harvest"
    assert b"Anna" in after.info["XML:com.adobe.xmp"].encode()
    assert b"harvest" not in write(source, whole(source.picture), options=STRIP).data


@pytest.mark.parametrize("goal", ["jpeg", "png", "tiff", "webp"])
def test_the_mark_is_set_in_every_format_beside_the_source_s_words(goal):
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=XMP))
    data = write(
        source, whole(source.picture), options=OutputOptions(format=goal), source_type=SourceType.COMPOSITE
    ).data
    xmp = read(data).metadata.xmp
    assert xmp.count(SourceType.COMPOSITE.encode()) == 1
    assert b"<dc:creator>Anna</dc:creator>" in xmp
    assert is_sound(xmp)


def test_an_older_mark_is_replaced_in_each_of_its_spellings():
    name = b' xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    spellings = [
        XMP.replace(b'rdf:about="urn:a"', b'rdf:about="urn:a"' + name + b' e:DigitalSourceType="old"'),
        XMP.replace(b"<dc:", b"<e:DigitalSourceType" + name + b">old</e:DigitalSourceType><dc:", 1),
        XMP.replace(b"<dc:", b"<e:DigitalSourceType" + name + b' rdf:resource="old"/><dc:', 1),
    ]
    for old in spellings:
        assert is_sound(old)
        new = mark(old, SourceType.ENHANCED)
        assert new.count(b"DigitalSourceType") == 1
        assert SourceType.ENHANCED.encode() in new
        assert b"Anna" in new
        assert b'rdf:about="urn:a"' in new.split(b"Anna")[1], "one packet speaks of one thing"
        assert is_sound(new)
        assert mark(new, SourceType.ENHANCED) == new


@pytest.mark.parametrize(
    "bad", [b"", b"no xml", XMP[:-9], b'<!DOCTYPE x [<!ENTITY a "aa">]>' + XMP, b"<a/>", XMP.decode().encode("utf-16")]
)
def test_a_packet_that_cannot_be_read_is_replaced(bad):
    marked = mark(bad, SourceType.COMPOSITE)
    assert is_sound(marked)
    assert marked.count(SourceType.COMPOSITE.encode()) == 1


def test_the_old_picture_s_thumbnail_does_not_survive():
    """A thumbnail of the unrestored picture, perhaps of the part that was cropped away, is a known leak."""
    small = saved(Image.fromarray(np.full((8, 8, 3), 200, np.uint8)), "JPEG")
    exif = Image.Exif()
    exif[0x013B] = "Anna"
    plain = exif.tobytes()
    # Append IFD1 with the thumbnail by hand: Pillow writes none.
    body = bytearray(plain[6:])
    first = struct.unpack_from("<I", body, 4)[0] if body[:2] == b"II" else struct.unpack_from(">I", body, 4)[0]
    order = "<" if body[:2] == b"II" else ">"
    count = struct.unpack_from(order + "H", body, first)[0]
    struct.pack_into(order + "I", body, first + 2 + 12 * count, len(body))
    at = len(body) + 2 + 12 * 3 + 4
    entries = [(0x0103, 3, 1, 6), (0x0201, 4, 1, at), (0x0202, 4, 1, len(small))]
    body += struct.pack(order + "H", 3)
    for tag, kind, n, value in entries:
        body += struct.pack(order + "HHI", tag, kind, n)
        body += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    body += struct.pack(order + "I", 0) + small
    data = saved(Image.fromarray(levels(8, 3)), "JPEG", exif=b"Exif\0\0" + bytes(body))
    assert small[-40:] in data
    source = read(data)
    assert source.height == HEIGHT
    after = write(source, whole(source.picture), options=KEEP).data
    assert small[-40:] not in after
    assert exif_of(after)[0x013B] == "Anna"


#: Words of many kinds: known and private.
MAIN = {
    0x010E: b"The harvest",
    0x010F: b"Rolleiflex",
    0x0110: b"2.8F",
    0x0131: b"ScanWizard",
    0x013B: b"Anna Atkins",
}
MAIN |= {0x0132: b"1951:05:03 10:00:00", 0x8298: b"(c) estate", 0x010D: b"box 7, no. 12", 0xFDE8: b"private words"}


def an_exif(orientation: int = 1, endian: str = "<") -> Image.Exif:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0112] = orientation
    exif[0x011A] = exif[0x011B] = 300.0
    exif[0x0128] = 2
    for tag, value in MAIN.items():
        exif[tag] = value.decode()
    inner = exif.get_ifd(0x8769)
    inner |= {
        0x9003: "1951:05:03 10:00:00",
        0x829A: 0.5,
        0x927C: b"maker" * 9,
        0x9286: b"ASCII\0\0\0words",
        0xFDEA: "own",
    }
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 15.25), 3: "E", 4: (13.0, 24.0, 1.5)})
    return exif


def a_source(kind: str, endian: str = "<") -> bytes:
    return saved(Image.fromarray(levels(8, 3)), kind, exif=an_exif(6, endian).tobytes(), dpi=(300, 300))


def flat(data: bytes) -> dict[object, object]:
    """Every EXIF tag that Pillow finds, but for pointers and padding."""
    exif = exif_of(data)
    tags = {**dict(exif), **{("exif", k): v for k, v in exif.get_ifd(0x8769).items()}}
    tags |= {("gps", k): v for k, v in exif.get_ifd(0x8825).items()}
    return {tag: value for tag, value in tags.items() if tag not in {0x8769, 0x8825}}


GOALS = ["jpeg", "png", "tiff", "webp"]


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "MM-JPEG"])
def test_every_exif_tag_arrives_in_every_format(kind, goal):
    """libvips loses all of them on the way into and out of TIFF, and unknown ones elsewhere."""
    data = a_source(kind.removeprefix("MM-"), ">" if kind == "MM-JPEG" else "<")
    before = flat(data)
    assert before[0x0112] == 6
    assert before[("gps", 2)] == (52.0, 30.0, 15.25)
    source = read(data)
    after = flat(write(source, whole(source.picture), options=OutputOptions(format=goal)).data)
    structure = {0x0112, 0x011A, 0x011B, 0x0128, ("exif", 0xA002), ("exif", 0xA003), *range(254, 285), 339} - {*MAIN}
    assert {tag: after.get(tag) for tag in before if tag not in structure} == {
        tag: value for tag, value in before.items() if tag not in structure
    }
    assert after[0x0112] == 1
    # PNG counts in whole pixels a metre.
    assert after[0x011A] == pytest.approx(300, abs=0.01)
    assert after[0x0128] == 2
    assert (after[("exif", 0xA002)], after[("exif", 0xA003)]) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("goal", GOALS)
def test_text_in_utf_8_is_copied_byte_for_byte(goal):
    """The standards say ASCII; libraries that decode it write question marks."""
    words = "Die Grüße aus Łódź".encode()
    source = read(tiff(levels(8, 3), photometric="rgb", extratags=[(270, 2, len(words) + 1, words + b"\0", True)]))
    assert words in write(source, whole(source.picture), options=OutputOptions(format=goal)).data


def test_tags_of_a_tiff_written_as_bigtiff_are_read_by_others(monkeypatch):
    from pipeline import encode

    monkeypatch.setattr(encode, "_BIG_TIFF_BYTES", 100)
    source = read(a_source("TIFF"))
    data = write(source, whole(source.picture), options=KEEP).data
    assert data[:4] == b"II+\0"
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert page.tags["Artist"].value == "Anna Atkins"
    assert page.tags["ExifTag"].value["DateTimeOriginal"] == "1951:05:03 10:00:00"
    assert page.tags["GPSTag"].value["GPSLatitudeRef"] == "N"
    assert np.array_equal(page.asarray(), source.samples)
    again, before = read(data).metadata, source.metadata
    assert (again.exif.main, again.exif.gps) == (before.exif.main, before.exif.gps)
    assert again.exif.exif.keys() > before.exif.exif.keys()
    assert again.resolution == pytest.approx(before.resolution)


def test_numbers_of_64_bits_of_a_bigtiff_are_written_elsewhere_as_32_or_not_at_all():
    small, large = struct.pack("<2Q", 7, 2**32 - 1), struct.pack("<2Q", 7, 2**32)
    tags = Exif(
        order="<",
        main={
            0xC001: Value(type=16, data=small),
            0xC002: Value(type=16, data=large),
            0xC003: Value(type=17, data=struct.pack("<q", -5)),
        },
    )
    kept = from_block(tags.block()).main
    assert kept == {
        0xC001: Value(type=4, data=struct.pack("<2I", 7, 2**32 - 1)),
        0xC003: Value(type=9, data=struct.pack("<i", -5)),
    }
    big = Layout(order="<", big=True)
    assert big.read(bytes(16) + big.encoded(tags.main, 16), 16).tags == tags.main


def test_a_comment_in_utf_16_follows_the_byte_order():
    exif = an_exif(1, ">")
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "Grüße".encode("utf-16-be")
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG", exif=exif))
    after = flat(write(source, whole(source.picture), options=OutputOptions(format="tiff")).data)
    assert after[("exif", 0x9286)] == b"UNICODE\0" + "Grüße".encode("utf-16-le")


CAPTIONS = b"\x1c\x02\x00\x00\x02\x00\x02" + b"\x1c\x02\x50\x00\x0bAnna Atkins"


def resource(number: int, body: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + bytes(len(body) % 2)


def with_captions(kind: str) -> bytes:
    pixels = levels(8, 3)
    blocks = resource(0x040C, b"the old thumbnail") + resource(0x0404, CAPTIONS) + resource(0x03ED, bytes(16))
    if kind == "tiff":
        return tiff(pixels, photometric="rgb", extratags=[(33723, 7, len(CAPTIONS), CAPTIONS, True)])
    if kind == "tiff-photoshop":
        return tiff(pixels, photometric="rgb", extratags=[(34377, 7, len(blocks), blocks, True)])
    data, body = saved(Image.fromarray(pixels), "JPEG"), b"Photoshop 3.0\0" + blocks
    return data[:2] + struct.pack(">HH", 0xFFED, len(body) + 2) + body + data[2:]


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("kind", ["jpeg", "tiff", "tiff-photoshop"])
def test_captions_get_the_frame_of_their_new_format(kind, goal):
    """libvips writes Photoshop's frame into TIFF and none into JPEG."""
    source = read(with_captions(kind))
    assert source.metadata.iptc == CAPTIONS
    encoded = write(source, whole(source.picture), options=OutputOptions(format=goal))
    if goal == "webp":
        assert [notice.code for notice in encoded.notices] == ["metadata_left_out"]
        return
    assert b"thumbnail" not in encoded.data
    assert read(encoded.data).metadata.iptc == CAPTIONS
    if goal in {"jpeg", "tiff"}:
        from PIL import IptcImagePlugin

        assert IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(encoded.data)))[(2, 80)] == b"Anna Atkins"


TIFF_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:t="http://ns.adobe.com/tiff/1.0/"'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Orientation="6"'
    b' exif:PixelXDimension="37"><t:Orientation>6</t:Orientation><tiff:Make>Rollei</tiff:Make>'
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>b2xk</rdf:li></rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("goal", GOALS)
def test_xmp_says_no_longer_what_became_untrue(goal):
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=TIFF_XMP, exif=an_exif(6)))
    after = read(write(source, whole(source.picture), options=OutputOptions(format=goal)).data).metadata.xmp
    assert is_sound(after)
    assert b'tiff:Orientation="1"' in after
    assert b"<t:Orientation>1</t:Orientation>" in after
    assert b"Rollei" in after
    assert b"b2xk" not in after
    assert b"PixelXDimension" not in after


CANARY = b"CANARY"


def _with_canaries() -> dict[str, bytes]:
    """Words in every block that a format has."""
    exif = Image.Exif()
    exif[0x011A] = exif[0x011B] = 300.0
    exif[0x0128] = 2
    exif[0x010E] = exif[0x013B] = exif[0xFDE8] = CANARY.decode()
    exif.get_ifd(0x8769)[0x927C] = CANARY
    exif.get_ifd(0x8825)[0x1D] = CANARY.decode()
    packet = XMP.replace(b"Anna", CANARY)
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", CANARY.decode())
    info.add_itxt("Author", CANARY.decode())
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    picture, words = Image.fromarray(levels(8, 3)), {"exif": exif, "dpi": (300, 300), "icc_profile": WIDE}
    jpeg = saved(picture, "JPEG", xmp=packet, comment=CANARY, **words)
    body = b"Photoshop 3.0\0" + resource(0x0404, CAPTIONS.replace(b"Anna A", CANARY)) + resource(0x040C, CANARY)
    extra = [(700, 7, len(packet), packet, True), (33723, 7, 6, CANARY, True), (34377, 7, len(body), body, True)]
    extra += [(37724, 7, 6, CANARY, True), (315, 2, 7, CANARY + b"\0", True)]
    return {
        "jpeg": jpeg[:2] + struct.pack(">HH", 0xFFED, len(body) + 2) + body + jpeg[2:],
        "png": saved(picture, "PNG", pnginfo=info, **words),
        "webp": saved(picture, "WEBP", xmp=packet, lossless=True, **words),
        "tiff": tiff(
            levels(8, 3), photometric="rgb", description=CANARY.decode(), software=CANARY.decode(), iccprofile=WIDE,
            resolution=(300, 300), extratags=extra,
        ),
        "tiff-exif": saved(picture, "TIFF", **words),
    }  # fmt: skip


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "tiff-exif"])
def test_strip_leaves_no_byte_of_a_canary_but_profile_and_resolution(kind, goal):
    data = _with_canaries()[kind]
    assert CANARY in data
    source = read(data)
    kept = write(source, whole(source.picture), options=OutputOptions(format=goal)).data
    assert CANARY in kept, "the canary must be able to travel"
    stripped = write(source, whole(source.picture), options=OutputOptions(format=goal, metadata_policy="strip")).data
    assert CANARY not in stripped
    again = read(stripped)
    assert again.space.profile == WIDE
    assert again.metadata.resolution == pytest.approx((300 / 25.4,) * 2, rel=1e-3)
    assert (again.metadata.xmp, again.metadata.iptc, again.metadata.comments) == (None, None, ())
    assert (again.metadata.exif.exif, again.metadata.exif.gps) == ({}, {})


def test_what_a_jpeg_cannot_hold_is_named():
    exif = an_exif()
    exif.get_ifd(0x8769)[0x927C] = bytes(range(256)) * 300
    source = read(saved(Image.fromarray(levels(8, 3)), "PNG", exif=exif))
    encoded = write(source, whole(source.picture), options=OutputOptions(format="jpeg"))
    assert [notice.code for notice in encoded.notices] == ["metadata_left_out"]
    assert "37500" in encoded.notices[0].detail
    assert flat(encoded.data)[0x013B] == "Anna Atkins"


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_damaged_tags_never_keep_a_picture_from_being_read(kind):
    """Each byte of the tags spoilt in turn: libvips may refuse the file, and nothing else may happen."""
    data = bytearray(a_source(kind))
    at, rng = data.find(b"Rolleiflex") - 400, np.random.default_rng(3)
    read_ones = 0
    for position in range(max(at, 0), at + 500, 7):
        spoilt = bytearray(data)
        spoilt[position : position + 4] = rng.bytes(4)
        with contextlib.suppress(UnreadableImage, ImageTooLarge):
            source = read(bytes(spoilt))
            write(source, whole(source.picture), options=OutputOptions(format="tiff"))
            read_ones += 1
    assert read_ones > 5


def test_a_camera_s_raw_file_is_not_taken_for_its_thumbnail():
    thumbnail = tiff(levels(8, 3), photometric="rgb", subfiletype=1, extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    with pytest.raises(UnsupportedImage, match="raw"):
        read(thumbnail)


def test_a_phone_s_gain_map_is_left_out_told_and_no_longer_announced():
    packet = XMP.replace(
        b'rdf:about="urn:a"',
        b'rdf:about="urn:a" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
        b' xmlns:Container="http://ns.google.com/photos/1.0/container/"',
    ).replace(b"<dc:", b"<Container:Directory><rdf:Seq/></Container:Directory><dc:", 1)
    assert is_sound(packet)
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=packet))
    assert [notice.code for notice in source.notices] == ["gain_map_left_out"]
    after = read(write(source, whole(source.picture), options=KEEP).data).metadata.xmp
    assert is_sound(after)
    assert b"hdrgm:Version" not in after
    assert b"Container:Directory" not in after
    assert b"Anna" in after
