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
from jobs.batches.model import is_batch_id
from jobs.logs import bound_request
from jobs.model import is_job_id
from jobs.trace_context import TRACEPARENT, TRACESTATE
from jobs.traces import NO_SPAN, UNTRACED, Span, SpanKind, Traces, spanning

logger = structlog.get_logger(__name__)

HEADER = "X-Request-Id"
#: What UUIDs, ULIDs and the usual gateways' ids are made of; nothing that means something to a log or a header.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{0,127}\Z")

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Tracing:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, *, requests: Requests, traces: Traces = UNTRACED) -> None:
        self._app = app
        self._requests = requests
        self._traces = traces

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

        with bound_request(request_id), spanning(self._span(scope, request_id)) as span:
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
                _note(span, scope, status)

    def _span(self, scope: Scope, request_id: str) -> Span:
        """Of calls that change something: looks are many, and lead nowhere."""
        if self._traces is UNTRACED or scope["method"] not in _CHANGES or not scope["path"].startswith("/v1/"):
            return NO_SPAN
        headers = Headers(scope=scope)
        return self._traces.begin(
            scope["method"],
            kind=SpanKind.SERVER,
            parent=self._traces.heard(headers.getlist(TRACEPARENT), headers.getlist(TRACESTATE)),
            facts={
                "http.request.method": scope["method"],
                "url.scheme": scope["scheme"],
                "photomend.request.id": request_id,
            },
        )


def _chosen(given: list[str]) -> str:
    if len(given) == 1 and _SANE.match(given[0]):
        return given[0]
    return f"req_{secrets.token_hex(12)}"


def _tell(scope: Scope, status: int, seconds: float) -> None:
    route = _route(scope)
    if route is None or not route.startswith("/v1/"):
        return  # probes and pages would drown the rest
    facts = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
    logger.info("request", **facts, **_found(scope, "tenant", "key_id", "job_id"))


def _note(span: Span, scope: Scope, status: int) -> None:
    """What a server's span says by OpenTelemetry's conventions for HTTP, and whose it is."""
    if span is NO_SPAN:
        return
    route, found = _route(scope), _found(scope, "tenant", "job_id", "batch_id")
    job_id, batch_id = found.get("job_id", ""), found.get("batch_id", "")
    facts = {
        "http.route": route,
        "http.response.status_code": status,
        "photomend.tenant": found.get("tenant"),
        # Of a path it may be any word of a stranger's.
        "photomend.job.id": job_id if is_job_id(job_id) else None,
        "photomend.batch.id": batch_id if is_batch_id(batch_id) else None,
    }
    span.note(facts, name=None if route is None else f"{scope['method']} {route}")
    if status >= 500:
        span.failed(str(status))


def _route(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _found(scope: Scope, *names: str) -> dict[str, str]:
    """As the routes found them: who asked, and what for, is known only there."""
    found = scope.get("path_params", {}) | scope.get("state", {})
    return {name: found[name] for name in names if is_plain(found.get(name))}


def is_plain(value: object) -> bool:
    """Whether it is an id, not whatever a stranger put into a path."""
    return isinstance(value, str) and _SANE.match(value) is not None
