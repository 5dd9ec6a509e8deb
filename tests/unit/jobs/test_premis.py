"""The PREMIS record of a delivery: valid, complete, and every link in it leads somewhere."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from jobs.delivery.premis import NAMESPACE, Origin, Signed, document
from jobs.delivery.rows import FaceNote, OutputFile, ReviewNote, Row, Status

SHA = "ab" * 32
ORIGIN = Origin(program="photomend", version="0.1.0", made_at="2026-11-26T12:00:00+00:00")
SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).with_name("premis-3.0-subset.xsd")))
NS = {"p": NAMESPACE}

DONE = Row(
    number=1,
    source="1969/a & <b>.tif",
    status=Status.SUCCEEDED,
    source_sha256=SHA,
    recipe_sha256=SHA[::-1],
    outputs=(
        OutputFile(part="image", key="1969/a & <b>.tif", sha256=SHA, bytes=10),
        OutputFile(part="provenance", key="1969/a.provenance.json", sha256=SHA, bytes=20),
    ),
    faces_found=2,
    faces_restored=1,
    faces_skipped=1,
    face_notes=(FaceNote(face="g5k2p", status="skipped", reason="another face is larger"),),
    review=(ReviewNote(face="g5k2p", code="tiny", reason="it is small"),),
    model="gfpgan-1.4",
    weights={"gfpgan-1.4": SHA, "parsenet": SHA[::-1]},
    completed_at="2026-11-26T11:00:00+00:00",
)
ROWS = [
    DONE,
    dataclasses.replace(DONE, number=2, status=Status.SKIPPED, completed_at=None),
    Row(number=3, source="c\x00\x1b\r]]>.tif", status=Status.FAILED, error_code="image_truncated", error="It is cut."),
    Row(number=4, source="", status=Status.CANCELED),
    Row(number=5, source="d.tif", version="v1", status=Status.FAILED, source_sha256=SHA, error_code="internal"),
]


def parsed(rows: list[Row], origin: Origin = ORIGIN) -> etree._Element:
    return etree.fromstring("".join(document(lambda: iter(rows), origin)).encode())


def values(tree: etree._Element, path: str) -> list[str]:
    return [element.text or "" for element in tree.iterfind(path, NS)]


def test_the_record_is_valid():
    SCHEMA.assertValid(parsed(ROWS))


@pytest.mark.parametrize(
    ("old", "new"),
    [("<format>", "<size>1</size><format>"), ('version="3.0"', 'version="2.3"'), ("<eventType", "<eventKind")],
)
def test_the_schema_of_these_tests_refuses_what_is_wrong(old, new):
    text = "".join(document(lambda: iter(ROWS), ORIGIN))
    assert old in text
    wrong = text.replace(old, new).replace("</eventType>", "</eventKind>" if "Kind" in new else "</eventType>")
    with pytest.raises(etree.DocumentInvalid):
        SCHEMA.assertValid(etree.fromstring(wrong.encode()))


def test_every_link_leads_to_an_object_or_an_agent():
    tree = parsed(ROWS)
    objects = values(tree, "p:object/p:objectIdentifier/p:objectIdentifierValue")
    agents = values(tree, "p:agent/p:agentIdentifier/p:agentIdentifierValue")
    assert len(set(agents)) == len(agents) == 3
    assert set(values(tree, ".//p:linkingObjectIdentifierValue")) == set(objects)
    assert set(values(tree, ".//p:linkingAgentIdentifierValue")) == set(agents)
    assert set(values(tree, ".//p:relatedObjectIdentifierValue")) <= set(objects)
    events = values(tree, ".//p:eventIdentifierValue")
    assert len(set(events)) == len(events)


def test_every_line_of_the_manifest_has_its_source_and_what_was_done_with_it():
    tree = parsed(ROWS)
    outcomes = Counter(
        (event.findtext("p:eventType", None, NS), event.findtext(".//p:eventOutcome", None, NS))
        for event in tree.iterfind("p:event", NS)
    )
    assert outcomes == {
        ("message digest calculation", "success"): 3,
        ("creation", "success"): 2,
        ("creation", "failure"): 2,
        ("creation", "canceled"): 1,
    }
    notes = values(tree, ".//p:eventOutcomeDetailNote")
    assert "1 of 2 faces reconstructed; face g5k2p skipped: another face is larger" in notes[1]
    assert "image_truncated: It is cut." in notes
    details = values(tree, ".//p:eventDetail")
    assert all("restor" not in detail for detail in details), "it is named reconstruction: that is what it is"
    assert values(tree, "p:object/p:originalName")[0] == "1969/a & <b>.tif"
    assert values(tree, "p:object/p:objectCharacteristics/p:format//p:formatName")[:3] == [
        "image/tiff", "image/tiff", "application/json",
    ]  # fmt: skip


def test_the_same_report_gives_the_same_record():
    assert etree.tostring(parsed(ROWS)) == etree.tostring(parsed(ROWS))


def test_a_signed_copy_has_its_own_checksum_and_an_event():
    origin = dataclasses.replace(ORIGIN, signed={DONE.outputs[0].key: Signed(sha256="cd" * 32, bytes=99)})
    tree = parsed([DONE], origin)
    SCHEMA.assertValid(tree)
    assert values(tree, "p:object//p:messageDigest") == [SHA, "cd" * 32, SHA]
    assert values(tree, "p:object//p:size") == ["99", "20"]
    assert values(tree, "p:event/p:eventType")[-1] == "digital signature generation"
