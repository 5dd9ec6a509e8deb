"""Every request has an id, which its log lines, its answer and the job that it makes carry, down to the worker.

A caller or a gateway may give one in ``X-Request-Id``; what is not sane is replaced, never echoed. Each request to the
API is told in one log line when its answer has ended: the route, not the address, so that no query reaches the log.
"""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.metrics import Requests
from api.problems import Problem
from jobs.logs import bound_request

logger = structlog.get_logger(__name__)

HEADER = "X-Request-Id"
#: What UUIDs, ULIDs and the usual gateways' ids are made of; nothing that means something to a log or a header.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{0,127}\Z")


class Tracing:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, *, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _chosen(Headers(scope=scope).getlist(HEADER))
        began = time.perf_counter()
        status, has_begun = 500, False

        async def traced(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                self._requests.answered(scope, status=status, seconds=time.perf_counter() - began)
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                # No browser takes an answer for something that it is not.
                headers["X-Content-Type-Options"] = "nosniff"
                headers.update(scope.get("state", {}).get("headers", {}))
            await send(message)

        with bound_request(request_id):
            try:
                await self._app(scope, receive, traced)
            # A border: the traceback goes to the log, with the id that the caller is told.
            except Exception:
                logger.exception("request failed by a fault of ours", path=scope["path"])
                if has_begun:
                    raise  # the connection breaks off, or half an answer would pass for a whole one
                await problems.response(Problem("internal"), instance=scope["path"])(scope, receive, traced)
            finally:
                _tell(scope, status, time.perf_counter() - began)


def _chosen(given: list[str]) -> str:
    if len(given) == 1 and _SANE.match(given[0]):
        return given[0]
    return f"req_{secrets.token_hex(12)}"


def _tell(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", None)
    if route is None or not route.startswith("/v1/"):
        return  # probes and pages would drown the rest
    facts = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
    # As the routes found them: who asked is known only there.
    found = scope.get("path_params", {}) | scope.get("state", {})
    facts |= {name: found[name] for name in ("tenant", "key_id", "job_id") if is_plain(found.get(name))}
    logger.info("request", **facts)


def is_plain(value: object) -> bool:
    """Whether it is an id, not whatever a stranger put into a path."""
    return isinstance(value, str) and _SANE.match(value) is not None
