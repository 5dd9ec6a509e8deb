"""Structured logs: one JSON object a line on stderr, with the job they are about.

Whatever logs through the standard library (Celery, boto3, uvicorn) takes the same way out.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from jobs.model import TenantId

_SECRET_NAMES = re.compile(
    r"secret|token|passw|authorization|signature|api_?key|cookie|credential|idempotency", re.IGNORECASE
)
HIDDEN = "[hidden]"
#: What looks like a secret wherever it stands, and what is left of it.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Userinfo of a URL.
    (re.compile(r"(?<=://)[^/\s@\"']*@"), ""),
    # The query of a URL: presigned ones are signed there, and webhooks often carry a token.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"']*)\?[^\s\"']*", re.IGNORECASE), r"\1"),
    # A signed query without its URL, as HTTP libraries tell it.
    (re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*"), ""),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), HIDDEN),
    # An API key; its id stays, for the operator.
    (re.compile(r"\b(pm_[a-z]+_[0-9a-z]{12})_\w+"), rf"\1_{HIDDEN}"),
)
#: What is in every text that one of these finds something in: most texts are done with after one look.
_SUSPICIOUS = re.compile(r"://|\?|bearer|basic|whsec_|pm_", re.IGNORECASE)
#: Libraries that tell every request with its whole URL, or headers, below this level.
_TALKATIVE = ("httpx", "httpcore", "boto3", "botocore", "urllib3", "multipart", "python_multipart")


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
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(job_id: str, *, tenant: TenantId | None = None, request_id: str | None = None) -> Iterator[None]:
    """Every line logged inside names the job, and as far as they are known its owner and the request that made it."""
    facts = {"job_id": job_id, "tenant": tenant, "request_id": request_id}
    with structlog.contextvars.bound_contextvars(**{k: v for k, v in facts.items() if v is not None}):
        yield


@contextmanager
def bound_request(request_id: str) -> Iterator[None]:
    """Every line logged inside names the request, also in threads that work for it."""
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        yield


def current_request() -> str | None:
    """The request that is worked on here."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


def hide_secrets(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values by their name and text by its look, however deep: keys, secrets, credentials and queries of URLs."""
    for name, value in facts.items():
        # structlog's own: the record of a foreign library, whose message is in the event already.
        if not name.startswith("_"):
            facts[name] = _hidden(name, value)
    return facts


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden(name, inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return HIDDEN if _is_secret(name) else without_secrets(str(value))


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def without_secrets(text: str) -> str:
    """``text`` without what looks like a key, a secret, a credential or the query of a URL."""
    if _SUSPICIOUS.search(text) is None:
        return text
    for pattern, rest in _SECRETS:
        text = pattern.sub(rest, text)
    return text


def _name_service(service: str) -> Any:
    def name(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        facts.setdefault("service", service)
        return facts

    return name
