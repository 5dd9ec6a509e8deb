"""The report's page: everything said, everything escaped, nothing asked for elsewhere, bounded whatever comes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from jobs.delivery.html import MOST_SAMPLE_BYTES, MOST_SAMPLES, Heading, Sample, page
from jobs.delivery.rows import FaceNote, OutputFile, ReviewNote, Row, Status
from jobs.delivery.summary import MOST_SHOWN, Summary

EVIL = "</style><script>alert(1)</script>\" onload='x' \u202egnp.exe\x00"
SHA = "ab" * 32
NOTE = ReviewNote(face="g5k2p", code=EVIL, reason=EVIL)
DONE = Row(
    number=1, source=EVIL, status=Status.SUCCEEDED, model=EVIL, weights={EVIL: EVIL}, engine=EVIL, device=EVIL,
    outputs=(OutputFile(part="image", key=EVIL, sha256=SHA, bytes=1_500_000),), warnings=(EVIL,), seconds=3.0,
    faces_found=2, faces_restored=1, faces_skipped=1, review=(NOTE,),
    face_notes=(FaceNote(face="a", status="skipped", reason=f"it is 31 px {EVIL}"),),
)  # fmt: skip
FAILED = Row(number=2, source=EVIL, status=Status.FAILED, error_code=EVIL, error=EVIL)
HEADING = Heading(
    title=EVIL, source=EVIL, output=EVIL, made_by=EVIL, made_at=EVIL, recipe={EVIL: EVIL}, beside=(EVIL,), elapsed_s=61
)


class Seen(HTMLParser):
    """Tags, attributes and text of a page, as a browser takes it apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def summed(*rows: Row) -> Summary:
    summary = Summary()
    for row in rows:
        summary.add(row)
    return summary


def seen(text: str) -> Seen:
    found = Seen()
    found.feed(text)
    return found


def drawn(*rows: Row, samples=(), heading: Heading = HEADING) -> str:
    return "".join(page(heading, summed(*rows), samples))


def test_a_stranger_s_words_stay_words():
    text = drawn(DONE, FAILED, samples=[Sample(row=DONE, before=b"b", after=b"a")])
    found = seen(text)
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert text.count("</style>") == 1
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "alert(1)" in found.text


def test_nothing_is_asked_for_outside_the_page():
    text = drawn(DONE, FAILED, samples=[Sample(row=DONE, before=b"b", after=b"a")])
    outside = [v for n, v in seen(text).attributes if n in {"src", "href", "action", "srcset"} and v[:5] != "data:"]
    assert outside == []
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    [policy] = [v for n, v in seen(text).attributes if n == "content" and "default-src" in v]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_the_figures_are_those_of_the_rows():
    many = [Row(number=n, source=f"{n}.tif", status=Status.CANCELED) for n in range(3, 8)]
    text = drawn(DONE, FAILED, *many, heading=Heading(title="A", source="s", output="o", made_by="p", made_at="t"))
    words = re.sub(r"\s+", " ", seen(text).text)
    assert "1 of 7 pictures have a result; 1 failed; 5 were not reached." in words
    assert "5 lines were not reached" in words
    assert "1 files, 1.5 MB" in words
    assert "it is \u2026 px" in words, "reasons that differ in their numbers are one"
    assert 'aria-label="How the lines ended. succeeded: 1; skipped: 0; failed: 1; canceled: 5"' in text
    assert "2\u20135: 1" in text


def test_a_million_rows_make_a_page_of_ordinary_size():
    summary = summed(*(Row(number=n, source="x" * 50, status=Status.FAILED, error_code="c") for n in range(1, 3000)))
    assert len(summary.failed) == MOST_SHOWN
    huge = Sample(row=DONE, before=bytes(MOST_SAMPLE_BYTES // 4), after=bytes(MOST_SAMPLE_BYTES // 4))
    small = Sample(row=DONE, before=b"b", after=b"a")
    text = "".join(page(HEADING, summary, [huge] * 5))
    assert text.count("<img") == 4
    assert f"The first {MOST_SHOWN} of 2,999" in text
    assert "".join(page(HEADING, summary, [small] * 100)).count("<img") == 2 * MOST_SAMPLES


def test_a_report_without_faces_failures_or_samples_has_no_empty_parts():
    text = drawn(Row(number=1, source="a", status=Status.CANCELED))
    for absent in ("Failures", "To look at", "Contact sheet", "Seconds of work"):
        assert absent not in seen(text).text
