"""Pure parts of the door: signatures, keys, strict JSON, form fields, events."""

from __future__ import annotations

import pytest
from starlette.datastructures import FormData

from api import events, uploads
from api.problems import Problem, body
from api.submission import idempotency_key
from api.views import job_view
from api.waiting import wait_s
from jobs.model import LOCAL_TENANT, Job, JobId, ObjectRef, Progress
from jobs.sniffing import sniff
from jobs.states import JobState
from photomend.client import parse_events


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"MM\0*\0\0\0\x08", "image/tiff"),
        (b"II+\0\x08\0\0\0", "image/tiff"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"", None),
        (b"\xff\xd8", None),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"GIF89a", "image/gif"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"<svg xmlns=", None),
        (b"%PDF-1.7", None),
        (b"\0\0\0\x18ftypheic", None),
        (b" \xff\xd8\xff", None),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head, kind):
    assert sniff(head) == kind


@pytest.mark.parametrize(("header", "key"), [(None, None), ("abc", "abc"), ('"abc"', "abc"), ("x" * 255, "x" * 255)])
def test_an_idempotency_key_may_be_quoted_or_bare(header, key):
    assert idempotency_key(header) == key


@pytest.mark.parametrize("header", ["", '"', '""', "a b", "x" * 256, "\xe4", 'a"b'])
def test_other_idempotency_keys_are_refused(header):
    with pytest.raises(Problem) as caught:
        idempotency_key(header)
    assert caught.value.code == "invalid_idempotency_key"


def test_plain_fields_become_the_wishes_that_json_would_say():
    fields = [("scale", "2"), ("denoise", "0.25"), ("aligned", "true"), ("outputs", "image,mask"), ("suffix", "2")]
    form = FormData([*fields, ("priority", "batch"), ("deadline_s", "60"), ("callback_url", "https://a.example/")])
    assert uploads.wishes_from_form(form) == {
        "options": {"scale": 2, "denoise": 0.25, "aligned": True, "outputs": ["image", "mask"], "suffix": "2"},
        "priority": "batch",
        "deadline_s": 60,
        "callback": {"url": "https://a.example/"},
    }


def test_a_part_that_is_there_twice_is_refused():
    with pytest.raises(Problem) as caught:
        uploads.wishes_from_form(FormData([("scale", "2"), ("scale", "3")]))
    assert caught.value.pointer == "/scale"


def test_an_event_tells_the_state_in_one_line_of_json_with_the_revision_as_its_id():
    job = Job(
        id=JobId("job_" + "a" * 32),
        tenant=LOCAL_TENANT,
        input=ObjectRef(bucket="photos", key="a\n\ndata: forged"),
        state=JobState.PROCESSING,
        progress=Progress(stage="restore", percent=40),
        revision=7,
        metadata={"n": "a\r\nevent: end\n\n"},
    )
    text = events.event_of(job, job_view)
    (event,) = parse_events(text.splitlines())
    assert (event.kind, event.revision, event.job.stage, event.job.percent) == ("progress", 7, "restore", 40)


def test_strangers_words_can_not_break_out_of_an_event():
    job = Job(
        id=JobId("job_" + "a" * 32),
        tenant=LOCAL_TENANT,
        input=ObjectRef(bucket="photos", key="a"),
        state=JobState.CANCELED,
        revision=8,
        metadata={"n": "a\r\nevent: forged\n\n\u2028"},
    )
    text = events.event_of(job, job_view)
    assert text.count("\n") == 4
    assert "\r" not in text
    (event,) = parse_events(text.splitlines())
    assert (event.kind, event.job.raw["metadata"]) == ("end", job.metadata)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("wait=5", 5),
        ('wait="7"', 7),
        ("respond-async, Wait = 9; foo=1", 9),
        ("wait=9999", 60),
        ("wait=-1", 0),
        ("wait", 0),
        ("await=3", 0),
    ],
)
def test_a_preference_that_is_not_understood_is_none(prefer, seconds):
    assert wait_s(prefer) == seconds


def test_a_problem_says_what_the_table_says_unless_it_has_words_of_its_own():
    assert body("job_not_found") == {
        "type": "/problems/job_not_found",
        "title": "There is no such job",
        "status": 404,
        "detail": "Check the id; records of old jobs are removed after a while.",
        "code": "job_not_found",
    }
    assert body("invalid_option", "No.", pointer="/options/x")["detail"] == "No."
