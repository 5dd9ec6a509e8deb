"""What a client says of a failed job is one or two sentences, and no sentence twice."""

from __future__ import annotations

import pytest

from photomend.client import Job, JobFailed

TITLE = "The input picture is truncated or damaged."


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        (TITLE, TITLE),
        (f"{TITLE} Ask for the file again.", f"{TITLE} Ask for the file again."),
        ("It ends at byte 9.", f"{TITLE} It ends at byte 9."),
        ("", TITLE),
    ],
)
def test_a_failure_is_told_once(detail, said):
    error = {"code": "image_truncated", "title": TITLE, "detail": detail}
    failed = JobFailed(Job(id="job_1", status="failed", error=error))
    assert (str(failed), failed.code) == (said, "image_truncated")
