"""``GET /metrics``: the API's own figures and the fleet's, for Prometheus.

They tell of all tenants, so a tenant's key does not open them: on loopback they are as open as everything is there,
elsewhere they need a key with the scope ``metrics``, which nothing but the operator's command line makes. A Prometheus
inside the same network may use ``PHOTOMEND_METRICS_PORT`` instead, which tells the same without a key.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope as HTTPScope

from api.openapi import problems
from api.service import Here, Who
from jobs.keys import Scope
from jobs.metrics import instruments
from jobs.metrics.catalogue import HTTP_SECONDS
from jobs.metrics.fleet import FleetCollector
from jobs.metrics.instruments import CollectorRegistry
from jobs.store import JobStore

router = APIRouter(tags=["health"])

_EXAMPLE = """# HELP photomend_waiting_jobs Accepted jobs that no worker has, by priority.
# TYPE photomend_waiting_jobs gauge
photomend_waiting_jobs{priority="interactive"} 3.0
"""
_TEXT = {"schema": {"type": "string"}, "example": _EXAMPLE}
#: Words of strangers are told as this: each would be series of its own.
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=problems("unauthorized", "missing_scope", "rate_limited")
    | {200: {"description": "Prometheus' text format", "content": {"text/plain": _TEXT}}},
)
async def get_metrics(service: Here, caller: Who) -> Response:
    """Of this process, and of the whole fleet as Redis knows it. Needs the scope metrics where keys are needed."""
    caller.require(Scope.METRICS)
    told = await run_in_threadpool(instruments.text, service.registry)
    return Response(told, media_type=instruments.CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def new_registry(store: JobStore) -> CollectorRegistry:
    """What one process of the API tells."""
    registry = instruments.new_registry("api")
    registry.register(FleetCollector(store.figures))
    return registry


class Requests:
    """Times requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = instruments.histogram(HTTP_SECONDS, registry)

    def answered(self, request: HTTPScope, *, status: int, seconds: float) -> None:
        """The head of an answer has gone out."""
        method = request["method"] if request["method"] in _METHODS else OTHER
        route = getattr(request.get("route"), "path", OTHER)
        self._seconds.labels(method, route, str(status)).observe(seconds)
