"""What the tests' own process logs, over the whole suite: no planted secret may be in it.

The processes that tests start log to files; ``tests.fleet`` looks through those.
"""

from __future__ import annotations

import re
import sys

import structlog

from jobs import logs

#: Whatever a test gives to the service as a secret; each fixture that has one plants it.
_planted: set[str] = set()
_leaks: list[str] = []
#: Of presigned URLs.
_SIGNATURE = re.compile(r"X-Amz-Signature=\w+|X-Amz-Credential=\w+")


class _Watched:
    """Standard error, looked at on the way."""

    def write(self, text: str) -> None:
        _leaks.extend(leaks_in(text))
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure() -> None:
    """Log as the service does, through the watch."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            logs.hide_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.PrintLoggerFactory(file=_Watched()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def is_watching() -> bool:
    """Whether logs still go through the watch: a command that a test runs in this process configures its own."""
    return isinstance(structlog.get_config()["logger_factory"], structlog.PrintLoggerFactory)


def plant(*secrets: str) -> None:
    """From now on these must not be logged, nor what is left of them without ``whsec_``."""
    assert all(len(secret) >= 8 for secret in secrets), "everything would hold it"
    _planted.update(secret.removeprefix("whsec_") for secret in secrets)


def leaks_in(text: str) -> list[str]:
    """The lines that tell a secret."""
    found = [line for line in text.splitlines() if any(secret in line for secret in _planted)]
    return found + [line for line in text.splitlines() if _SIGNATURE.search(line)]


def leaks() -> list[str]:
    """What was told since this was asked last."""
    found = list(_leaks)
    _leaks.clear()
    return found
