"""Logs: JSON lines that name the job and hide secrets, whoever wrote them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from jobs import logs
from jobs.model import JobId, TenantId
from tests import logged


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What was logged so far; the process's own logging is put back afterwards."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    stream = io.StringIO()
    logs.configure(service="keeper", level="info", stream=stream)

    class Lines(list[dict[str, Any]]):
        def __getitem__(self, index: Any) -> Any:
            return [json.loads(line) for line in stream.getvalue().splitlines()][index]

    yield Lines()
    root.handlers[:], level = before
    root.setLevel(level)
    logged.configure()


def test_a_line_names_the_service_and_the_job_and_then_no_more(lines: list[dict[str, Any]]) -> None:
    logger = structlog.get_logger("worker.run")
    with logs.about(JobId("job_1"), tenant=TenantId("anna")):
        logger.info("job succeeded", faces=3)
    logger.warning("job forgotten")
    first, second = lines[0], lines[1]
    assert (first["event"], first["faces"], first["job_id"], first["tenant"]) == ("job succeeded", 3, "job_1", "anna")
    assert (first["service"], first["level"], first["logger"]) == ("keeper", "info", "worker.run")
    assert "job_id" not in second


def test_foreign_libraries_take_the_same_way(lines: list[dict[str, Any]]) -> None:
    with logs.about(JobId("job_2")):
        logging.getLogger("botocore").warning("retrying %s", "HEAD")
    assert (lines[0]["event"], lines[0]["job_id"], lines[0]["logger"]) == ("retrying HEAD", "job_2", "botocore")


def test_a_traceback_is_one_field_of_one_line(lines: list[dict[str, Any]]) -> None:
    try:
        raise ValueError("spoilt")  # noqa: TRY301 - the traceback is what the test is about
    except ValueError:
        structlog.get_logger("x").exception("it failed")
    assert "ValueError: spoilt" in lines[0]["exception"]


@pytest.mark.parametrize(
    ("facts", "hidden"),
    [
        ({"callback_secret": "whsec_abc"}, "whsec_abc"),
        ({"Authorization": "Bearer pm_live_1"}, "pm_live_1"),
        ({"url": "redis://worker:hunter2@redis:6379/0"}, "hunter2"),
        ({"url": "https://s3/b/k?X-Amz-Algorithm=A&X-Amz-Signature=deadbeef"}, "deadbeef"),
        ({"error": "GET /b/k?X-Amz-Date=1&X-Amz-Signature=deadbeef failed"}, "deadbeef"),
        ({"error": "POST https://hooks.example.com/a?token=hunter2 answered 500"}, "hunter2"),
        ({"error": "signed with whsec_aHVudGVyMg== and sent"}, "aHVudGVyMg"),
        ({"error": "header Authorization: Bearer abc.def-ghi"}, "abc.def"),
        ({"error": "no such key pm_live_0123456789ab_hunter2Hunter2"}, "hunter2H"),
        ({"facts": {"inner": ["https://u:hunter2@h/"], "api_key": "k-1234"}}, "hunter2"),
        ({"facts": {"inner": ["x"], "api_key": "k-1234"}}, "k-1234"),
        ({"error": ValueError("https://u:hunter2@h/")}, "hunter2"),
    ],
)
def test_secrets_do_not_reach_the_log(lines: list[dict[str, Any]], facts: dict[str, str], hidden: str) -> None:
    structlog.get_logger("x").info("something", **facts)
    assert hidden not in json.dumps(lines[0])


@given(
    st.lists(
        st.sampled_from(
            ["https://u:p@h/", "?a=b", "X-Amz-Signature=1", "BEARER abc", "Basic eA==", "whsec_abc",
             "pm_live_4f8k2m9qw1xz_x", " ", "a", "//", ":", "@", "?", "bearer", "pm"]
        ),
        max_size=6,
    )
)  # fmt: skip
def test_no_secret_slips_past_the_first_look(parts: list[str]) -> None:
    text = whole = "".join(parts)
    for pattern, rest in logs._SECRETS:
        whole = pattern.sub(rest, whole)
    assert logs.without_secrets(text) == whole


def test_what_an_operator_needs_is_left(lines: list[dict[str, Any]]) -> None:
    facts = {
        "key": "pm_live_0123456789ab_hunter2",
        "url": "https://h.example.com:8443/a/b?c=d",
        "took_s": 0.5,
        "n": [1],
    }
    structlog.get_logger("x").info("something", **facts)
    line = lines[0]
    assert line["key"] == "pm_live_0123456789ab_[hidden]"
    assert (line["url"], line["took_s"], line["n"]) == ("https://h.example.com:8443/a/b", 0.5, [1])


def test_libraries_that_tell_whole_urls_are_heard_only_when_they_complain(lines: list[dict[str, Any]]) -> None:
    logging.getLogger("httpx").info("HTTP Request: POST https://h/a")
    logging.getLogger("httpx").warning("odd")
    assert [line["event"] for line in lines[:]] == ["odd"]


def test_lines_below_the_level_are_not_written(lines: list[dict[str, Any]]) -> None:
    structlog.get_logger("x").debug("too much")
    assert lines[:] == []
