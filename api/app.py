"""The application, put together. Nothing is opened, read or asked when this is imported or when it is built."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import (
    batch_reviewing,
    batches,
    docs,
    health,
    hooks,
    metrics,
    openapi,
    page,
    problems,
    reviewing,
    routes,
    submitting,
)
from api.bodies import BodyDoor
from api.keys import Callers
from api.service import Service
from api.settings import ApiSettings
from api.strangers import Doorkeeper, is_loopback
from api.tracing import Tracing
from api.uploads import MULTIPART_SLACK
from jobs.blobs import BlobStore
from jobs.store import JobStore
from jobs.traces import UNTRACED, Traces

#: Of the API, not of the package: grows when the wire changes.
API_VERSION = "1.0.0"


def create_app(store: JobStore, blobs: BlobStore, settings: ApiSettings, traces: Traces = UNTRACED) -> FastAPI:
    """The API over these clients; ``traces`` is closed when it has served."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(traces.close)

    app = FastAPI(
        title="photomend",
        version=API_VERSION,
        openapi_url="/openapi.json",
        # The framework's pages load scripts from elsewhere; ours is a page of its own.
        docs_url=None,
        redoc_url=None,
        # /v1/jobs/ is not /v1/jobs: a redirect would lose the body of a submit.
        redirect_slashes=False,
        lifespan=life,
        # Ours say no path and no query of a stranger's; the framework's own would, wherever a tracer is there.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    callers = Callers(store.keys, need_key=settings.needs_keys)
    registry = metrics.new_registry(store)
    app.state.service = Service(store=store, blobs=blobs, settings=settings, callers=callers, registry=registry)
    routers = (
        submitting.router,
        routes.router,
        reviewing.router,
        batches.router,
        batch_reviewing.router,
        hooks.router,
        health.router,
        metrics.router,
        docs.router,
        page.router,
    )
    problems.install(app, known=[*app.routes, *(route for router in routers for route in router.routes)])
    for router in routers:
        app.include_router(router)
    openapi.install(app)
    app.add_middleware(Doorkeeper, guards_host=is_loopback(settings.api_host), allow_hosts=settings.api_allow_hosts)
    app.add_middleware(BodyDoor, limit=settings.max_upload_bytes + MULTIPART_SLACK)
    app.add_middleware(Tracing, requests=metrics.Requests(registry), traces=traces)
    return app
