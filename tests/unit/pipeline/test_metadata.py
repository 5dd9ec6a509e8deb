"""What a file says beside its pixels survives, but for what is no longer true."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.codec import probe, read, write
from pipeline.metadata import SourceType, is_sound, mark
from pipeline.options import OutputOptions
from tests.unit.pipeline.corpus import HEIGHT, WIDTH, levels, saved, tiff

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
    doubled = np.repeat(np.repeat(source.working, 2, axis=0), 2, axis=1)
    exif = exif_of(write(source, doubled, options=KEEP).data)
    assert exif[0x013B] == "Anna Atkins"
    assert exif.get_ifd(0x8769)[0x9003] == "1951:05:03 10:00:00"
    assert exif.get_ifd(0x8825)[1] == "N"
    assert exif.get_ifd(0x8769)[0xA002] == 2 * WIDTH


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_strip_leaves_no_word_of_the_source(kind):
    source = read(with_exif(kind))
    data = write(source, source.working, options=STRIP).data
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
    written = write(source, source.working, options=OutputOptions(format="png")).data
    assert exif_of(written).get(0x0112, 1) == 1
    kept = write(source, source.working, options=KEEP).data
    assert exif_of(kept).get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_print_size_stays_as_the_picture_grows(kind):
    source = read(saved(Image.fromarray(levels(8, 3)), kind, dpi=(300, 300)))
    doubled = np.repeat(np.repeat(source.working, 2, axis=0), 2, axis=1)
    dpi = Image.open(io.BytesIO(write(source, doubled, options=KEEP).data)).info["dpi"]
    assert dpi == pytest.approx((600, 600), abs=0.1)


def test_an_unknown_resolution_is_not_made_up():
    source = read(tiff(levels(8, 3), photometric="rgb"))
    assert source.metadata.resolution is None
    assert Image.open(io.BytesIO(write(source, source.working, options=KEEP).data)).info["dpi"] == (72, 72)


def test_xmp_iptc_and_captions_travel():
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "The harvest")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    source = read(saved(Image.fromarray(levels(8)), "PNG", pnginfo=info))
    assert source.metadata.xmp == XMP
    after = Image.open(io.BytesIO(write(source, source.working, options=KEEP).data))
    assert after.info["Title"] == "The harvest"
    assert b"Anna" in after.info["XML:com.adobe.xmp"].encode()
    assert b"harvest" not in write(source, source.working, options=STRIP).data


@pytest.mark.parametrize("goal", ["jpeg", "png", "tiff", "webp"])
def test_the_mark_is_set_in_every_format_beside_the_source_s_words(goal):
    source = read(saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=XMP))
    data = write(source, source.working, options=OutputOptions(format=goal), source_type=SourceType.COMPOSITE).data
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
    import struct

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
    after = write(source, source.working, options=KEEP).data
    assert small[-40:] not in after
    assert exif_of(after)[0x013B] == "Anna"
