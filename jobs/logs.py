"""Structured logs: one JSON object a line on stderr, with the job they are about.

Whatever logs through the standard library (Celery, boto3, uvicorn) takes the same way out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from jobs.model import JobId, TenantId

_SECRET_NAMES = re.compile(r"secret|token|passw|authorization|signature|api_?key|cookie", re.IGNORECASE)
#: Userinfo of a URL, and the signed part of a presigned one.
_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")
_SIGNED = re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*")

HIDDEN = "[hidden]"


def configure(*, service: str = "photomend", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream`` (stderr), each line naming the ``service``. Call once, in main."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        _name_service(service),
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


@contextmanager
def about(job_id: JobId, *, tenant: TenantId | None = None) -> Iterator[None]:
    """Every line logged inside names the job."""
    facts = {"job_id": job_id} | ({"tenant": tenant} if tenant is not None else {})
    with structlog.contextvars.bound_contextvars(**facts):
        yield


def hide_secrets(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values by name, credentials in URLs, and the query of presigned ones."""
    for name, value in facts.items():
        if isinstance(value, str):
            facts[name] = HIDDEN if _SECRET_NAMES.search(name) else _SIGNED.sub("", _USERINFO.sub("", value))
    return facts


def _name_service(service: str) -> Any:
    def name(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        facts.setdefault("service", service)
        return facts

    return name
