"""Our own readers of formats and metadata, over 2,000 files that lie: an answer or an error of ours, and soon."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from PIL import Image

from pipeline import containers, exif, formats, iptc, metadata, scratch, tiff, xmp
from pipeline.decode import read
from pipeline.errors import PipelineError
from pipeline.exif import Exif
from pipeline.formats import Format
from pipeline.ifd import BadDirectory, Value
from pipeline.metadata import Metadata
from pipeline.xmp import SourceType
from tests import hostile_files
from tests.hostile import liar, places
from tests.unit.pipeline import corpus

FILES = 2000
#: Longest that one small file may keep its readers busy (seconds of computing): thousands of times what it takes.
LONGEST_S = 5.0


def read_all(data: bytes) -> Format:
    """As decoding does, every reader of ours in turn."""
    kind = formats.sniff(data)
    if kind is Format.TIFF:
        tiff.refuse_camera_raw(data)
        tiff.compression(data, 1)
        tiff.has_palette(data, 1)
        tiff.extra_sample(data, 1)
    with contextlib.suppress(BadDirectory):
        exif.from_tiff(data, 1) if kind is Format.TIFF else exif.from_block(data)
    formats.webp_is_lossless(data)
    formats.avif_is_p3(data)
    if kind is Format.PNG:
        containers.png_captions(data)
        containers.png_encoding(data)
    containers.comments(data, kind)
    iptc.bare(data)
    if xmp.is_sound(data):
        xmp.made_true(data)
    xmp.tells_of_gain_map(data)
    return kind


def tried(read: Callable[[bytes], Format], data: bytes) -> str:
    began = time.process_time()
    try:
        end = str(read(data))
    except PipelineError as error:
        end = error.code
    assert time.process_time() - began < LONGEST_S
    return end


def test_files_that_lie_end_as_a_format_or_as_an_error_of_the_pipeline() -> None:
    dice = random.Random(20261126)
    seeds = [make() for make in (corpus.LOSSLESS | corpus.LOSSY).values()]
    seeds += [corpus.saved(Image.new("L", (40, 30), shade), "GIF") for shade in range(4)]
    assert all(places(seed) for seed in seeds), "each has numbers to lie about"
    ends = Counter(tried(read_all, liar(dice.choice(seeds), dice)) for _ in range(FILES))
    assert ends.total() == FILES
    assert {str(kind) for kind in Format} <= set(ends), "lies are read, too"
    assert ends["image_unreadable"] > 0, "and some are refused"


def test_directories_that_lie_are_read_or_said_to_be_bad() -> None:
    """EXIF blocks reach the reader only by the decoder's hand; here without it."""
    dice = random.Random(6)
    seeds = [make() for name, make in corpus.LOSSLESS.items() if name.startswith("tiff")]
    bad = 0
    for _ in range(FILES // 4):
        try:
            exif.from_block(b"Exif\0\0" + liar(dice.choice(seeds), dice))
        except BadDirectory:
            bad += 1
    assert 0 < bad < FILES // 4


def test_a_directory_s_values_may_lie_upon_each_other_and_are_not_copied_without_end() -> None:
    found = exif.from_block(hostile_files.exif_of_one_value())
    copied = sum(len(value.data) for value in found.main.values())
    assert 0 < copied < 3 * hostile_files.MB, "of four gigabytes"
    assert len(found.left_out) > 4000


def test_a_directory_beyond_what_can_be_asked_for_is_none() -> None:
    big = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1) + bytes(32)
    tiff.refuse_camera_raw(big)
    with pytest.raises(BadDirectory):
        exif.from_tiff(big, 1)


def packets() -> dict[str, bytes]:
    """XMP packets of a megabyte that a pattern may look through again and again."""
    spaces = b"".join(b"<p%d:a xmlns:p%d='http://ns.adobe.com/tiff/1.0/'/>" % (i, i) for i in range(20_000))
    inside = {
        "elements that never close": b"<tiff:ImageWidth>" * 60_000,
        "tags that never end": b"<tiff:ImageWidth " * 60_000,
        "marks that never close": b"<a:DigitalSourceType>" * 50_000,
        "marks that never end": b"<a:DigitalSourceType " * 50_000,
        "descriptions that never end": b'<rdf:Description rdf:about="' * 30_000,
        "attributes that never end": b" tiff:Orientation='" * 50_001,
        "ends that never end": b"</tiff:ImageWidth " * 50_000,
        "spaces": b" " * hostile_files.MB,
        "rdf:abouts": b" rdf:about='" * 80_000,
    }
    head = b"<x xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:a='b'>"
    whole = {name: head + b"<![CDATA[" + text + b"]]></x>" for name, text in inside.items()}
    return whole | {"a namespace of many names": b"<x>" + spaces + b"</x>"}


@pytest.mark.parametrize("name", packets())
def test_a_packet_is_made_true_in_a_time_that_grows_with_its_length_only(name: str) -> None:
    """It is done outside of the sandbox, where nothing stops it, and other jobs wait meanwhile."""
    packet = packets()[name]
    assert xmp.is_sound(packet)
    began = time.process_time()
    true = xmp.made_true(packet)
    xmp.mark(true, SourceType.COMPOSITE)
    xmp.without_padding(true)
    assert time.process_time() - began < LONGEST_S


@pytest.mark.parametrize("encoding", ["nosuch", "gb18030", "utf-7", "hex", "idna", "punycode", "undefined"])
def test_a_packet_in_an_encoding_that_there_is_not_is_not_sound(encoding: str) -> None:
    packet = f"<?xml version='1.0' encoding='{encoding}'?><a/>".encode()
    assert not xmp.is_sound(packet)
    assert xmp.is_sound(xmp.mark(packet, SourceType.COMPOSITE)), "and is replaced"


def test_elements_are_replaced_in_each_of_their_spellings_and_nothing_else() -> None:
    packet = (
        b"<x xmlns:t='http://ns.adobe.com/tiff/1.0/' t:Orientation=\"6\">"
        b"<t:Orientation a='>'>6</t:Orientation ><t:Orientation/><t:OrientationOfMine>6</t:OrientationOfMine>"
        b'<t:ImageWidth\n>5</t:ImageWidth><y/><t:ImageWidth b="\'" /></x>'
    )
    assert xmp.made_true(packet) == (
        b"<x xmlns:t='http://ns.adobe.com/tiff/1.0/' t:Orientation=\"1\">"
        b"<t:Orientation>1</t:Orientation><t:Orientation>1</t:Orientation><t:OrientationOfMine>6</t:OrientationOfMine>"
        b"<y/></x>"
    )


def test_only_the_room_before_a_packet_s_end_is_padding() -> None:
    end = b"<?xpacket end='w'?>"
    assert xmp.without_padding(b"<x>  </x>  \n " + end) == b"<x>  </x>" + end
    assert xmp.without_padding(b"<x>  </x>  ") == b"<x>  </x>  "


@pytest.mark.parametrize("place", ["main", "exif", "gps", "interop"])
def test_tags_that_a_jpeg_cannot_hold_are_left_out_wherever_they_are(place: str) -> None:
    huge = {0x9000: Value(type=7, data=bytes(70_000)), 0x9001: Value(type=7, data=b"kept!")}
    kept, gone = Exif(order="<", **{place: huge}).within(65_000)
    assert gone == (0x9000,)
    assert getattr(exif.from_block(kept.block()), place) == {0x9001: huge[0x9001]}


def test_four_thousand_tags_are_left_out_of_a_jpeg_as_soon_as_one() -> None:
    tags = exif.from_block(hostile_files.exif_of_many_values())
    assert len(tags.main) > 3500
    carrier = corpus.LOSSY["jpeg-rgb"]()
    began = time.process_time()
    pieces, notices = metadata.attached(
        carrier, Format.JPEG, Metadata(exif=tags), width=corpus.WIDTH, height=corpus.HEIGHT, source_type=None
    )
    assert time.process_time() - began < LONGEST_S
    again = read(bytes(scratch.joined(pieces)))
    assert 20 < len(again.metadata.exif.main) < 40, "as many as there is room for"
    assert [notice.code for notice in notices] == ["metadata_left_out"]
    assert "more EXIF tags" in notices[0].detail
    assert len(notices[0].detail) < 300


def test_a_png_s_texts_that_unpack_to_more_than_a_caption_has_are_left_out_and_told() -> None:
    honest = [
        (b"tEXt", b"Title\0in the garden"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * hostile_files.MB)),
        (b"iTXt", b"Author\0\1\0de\0Autor\0" + zlib.compress("Anna Müller".encode())),
        (b"iTXt", b"Author\0\0\0de\0Autor\0" + zlib.compress(bytes(2 * hostile_files.MB))),
        (b"zTXt", b"Damaged\0\0no zlib"),
        (b"zTXt", b"Empty"),
    ]
    bombs = [
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (hostile_files.MB + 1))),
        (b"iTXt", b"Author\0\1\0de\0Autor\0" + hostile_files.zeros(20 * hostile_files.MB)),
    ]
    source = read(hostile_files.png_with(*honest, *bombs))
    assert source.metadata.comments == tuple(kind + body for kind, body in honest)
    assert [notice.code for notice in source.notices] == ["metadata_left_out"]
    assert "2 of the PNG file's texts" in source.notices[0].detail
    assert read(hostile_files.png_with(*honest)).notices == ()


def test_many_texts_that_are_captions_one_by_one_are_left_out_where_they_are_too_much_together() -> None:
    data = hostile_files.png_with(*[(b"zTXt", b"Comment\0\0" + hostile_files.zeros(hostile_files.MB))] * 100)
    began = time.process_time()
    source = read(data)
    assert time.process_time() - began < LONGEST_S
    assert len(source.metadata.comments) == 16
    assert "84 of" in source.notices[0].detail


def test_sixteen_megabytes_of_tags_change_their_byte_order_at_once() -> None:
    """Scanners' files hold such; it is done outside of the sandbox."""
    numbers = {
        tag: Value(type=kind, data=bytes(range(256)) * 4096) for tag, kind in enumerate([1, 3, 5, 7, 12, 16] * 3)
    }
    tags = Exif(order="<", main=numbers)
    began = time.process_time()
    turned = tags.in_order(">")
    assert time.process_time() - began < LONGEST_S / 5
    assert turned.main[0].data == numbers[0].data, "bytes have no order"
    assert turned.main[1].data[:4] == b"\x01\x00\x03\x02"
    assert turned.main[2].data[:8] == b"\x03\x02\x01\x00\x07\x06\x05\x04", "two numbers make a fraction"
    assert turned.main[4].data[:8] == b"\x07\x06\x05\x04\x03\x02\x01\x00"
    assert turned.in_order("<") == tags


def test_a_page_behind_one_of_very_many_tags_is_found() -> None:
    """No more than 4,096 tags are read of a page, and the next one lies behind all of them."""
    many = 5000
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 3, 1, 7) for tag in range(many))
    second = 8 + 2 + 12 * many + 4
    data = struct.pack("<4sI", b"II*\0", 8) + struct.pack("<H", many) + entries + struct.pack("<I", second)
    data += struct.pack("<HHHIII", 1, 0x010E, 2, 4, int.from_bytes(b"two\0", "little"), 0)
    assert exif.from_tiff(data, 2).main == {0x010E: Value(type=2, data=b"two\0")}
    assert len(exif.from_tiff(data, 1).main) > 3000
