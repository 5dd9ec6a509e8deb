"""A result's own history (xmpMM:History): what photomend did is added after what others did, and nothing is lost."""

from __future__ import annotations

import hashlib

import pytest
from lxml import etree
from PIL import Image

from pipeline.codec import read
from pipeline.options import OutputOptions
from pipeline.xmp import Deed, SourceType, is_sound, mark
from tests.unit.pipeline.corpus import levels, saved
from tests.unit.pipeline.test_restoration import Lighten, RestoreOptions, process

MM, EVENT = "http://ns.adobe.com/xap/1.0/mm/", "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DEED = Deed(agent="photomend 1 & <2>", parameters='AI "face" reconstruction')
#: As Photoshop writes it: events as attributes, with spaces between.
WITH_HISTORY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">
 <rdf:Description rdf:about="" xmlns:xmpMM="{MM}" xmlns:stEvt="{EVENT}">
  <xmpMM:History> <rdf:Seq>
   <rdf:li stEvt:action="created" stEvt:softwareAgent="Scanner"/>
   <rdf:li stEvt:action="saved" stEvt:softwareAgent="Editor"/>
  </rdf:Seq> </xmpMM:History>
 </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


def agents(packet: bytes) -> list[str]:
    """Who is named in the history, in its order; one history only."""
    tree = etree.fromstring(packet.strip())
    [history] = tree.iter(f"{{{MM}}}History")
    [sequence] = history
    assert sequence.tag == f"{{{RDF}}}Seq"
    name = f"{{{EVENT}}}softwareAgent"
    return [event.get(name) or event.findtext(name) for event in sequence]


def test_an_event_is_added_after_those_of_others():
    once = mark(WITH_HISTORY, SourceType.COMPOSITE, DEED)
    assert agents(once) == ["Scanner", "Editor", DEED.agent]
    assert agents(mark(once, SourceType.COMPOSITE, DEED)) == ["Scanner", "Editor", DEED.agent, DEED.agent]


@pytest.mark.parametrize("packet", [None, b"no xml", b"<a/>"])
def test_a_packet_without_a_history_gets_one(packet):
    assert agents(mark(packet, SourceType.COMPOSITE, DEED)) == [DEED.agent]


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"</rdf:Seq>", b"</rdf:Seq><!-- -->"), (b"xmpMM:", b"mm:"), (b"<rdf:Seq>", b"<rdf:Seq><rdf:li/>")],
)
def test_other_spellings_of_a_history_are_understood(old, new):
    packet = WITH_HISTORY.replace(old, new).replace(b"xmlns:xmpMM", b"xmlns:mm" if new == b"mm:" else b"xmlns:xmpMM")
    marked = mark(packet, SourceType.COMPOSITE, DEED)
    assert marked.count(b"edited") == 1
    assert is_sound(marked)


@pytest.mark.parametrize(
    "body", [b"<xmpMM:History/>", b"<xmpMM:History>text</xmpMM:History>", b"<x:History>text</x:History>"]
)
def test_what_is_no_list_of_events_is_left_as_it_is(body):
    start, end = WITH_HISTORY.index(b"<xmpMM:History>"), WITH_HISTORY.index(b"</xmpMM:History>") + 16
    packet = WITH_HISTORY[:start] + body + WITH_HISTORY[end:]
    assert is_sound(packet)
    assert mark(packet, SourceType.COMPOSITE, DEED) == mark(packet, SourceType.COMPOSITE)


def restored(data: bytes, output: OutputOptions) -> bytes:
    outputs = process(data, options=RestoreOptions(scale=1.0), output=output, restorer=Lighten())
    return bytes(outputs.part("image").data)


@pytest.mark.parametrize("goal", ["jpeg", "png", "tiff", "webp"])
def test_a_result_s_history_names_its_source_weights_and_options(goal):
    data = saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=WITH_HISTORY)
    packet = read(restored(data, OutputOptions(format=goal))).metadata.xmp
    assert agents(packet)[:2] == ["Scanner", "Editor"]
    assert agents(packet)[2].startswith("photomend ")
    told = packet.decode()
    assert f"source SHA-256 {hashlib.sha256(data).hexdigest()}" in told
    assert "AI face reconstruction by lighten" in told
    assert "weights lighten SHA-256 00" in told
    other = read(restored(data, OutputOptions(format=goal, quality=90))).metadata.xmp
    assert packet != other, "other options have another checksum"
    assert packet == read(restored(data, OutputOptions(format=goal))).metadata.xmp, "no clock times"


def test_stripped_metadata_have_no_history():
    data = saved(Image.fromarray(levels(8, 3)), "JPEG", xmp=WITH_HISTORY)
    packet = read(restored(data, OutputOptions(metadata_policy="strip"))).metadata.xmp
    assert b"History" not in packet
    assert SourceType.COMPOSITE.encode() in packet
