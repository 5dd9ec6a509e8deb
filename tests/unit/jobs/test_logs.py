"""Logs: JSON lines that name the job and hide secrets, whoever wrote them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from jobs import logs
from jobs.model import JobId, TenantId


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
    structlog.reset_defaults()


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
    ],
)
def test_secrets_do_not_reach_the_log(lines: list[dict[str, Any]], facts: dict[str, str], hidden: str) -> None:
    structlog.get_logger("x").info("something", **facts)
    assert hidden not in json.dumps(lines[0])


def test_lines_below_the_level_are_not_written(lines: list[dict[str, Any]]) -> None:
    structlog.get_logger("x").debug("too much")
    assert lines[:] == []
