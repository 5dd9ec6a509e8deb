"""The API process: settings, clients, serve. ``python -m api``, or ``uvicorn --factory api.__main__:app``."""

from __future__ import annotations

from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.settings import ApiSettings
from jobs import logs
from jobs.blobs import BlobStore
from jobs.errors import NotSetUp, StoreUnavailable
from jobs.metrics.listener import Listener
from jobs.signing import require_secret
from jobs.startup import require_safe
from jobs.store import JobStore
from jobs.targets import is_own_door
from jobs.traces import make_traces

logger = structlog.get_logger(__name__)

#: Requests in work may take this long to end after SIGTERM.
GRACE_S = 10


def app(settings: ApiSettings | None = None) -> FastAPI:
    """The application over real clients, settings from the environment unless given.

    Raises:
        NotSetUp: there is no secret to sign jobs with, or traces are wanted and cannot be made.
    """
    chosen = settings or ApiSettings()
    require_secret(chosen)
    traces = make_traces(chosen, component="api")
    return create_app(JobStore.connect(chosen), BlobStore.connect(chosen), chosen, traces)


def serve(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        NotSetUp: see ``jobs.startup.require_safe``; or nobody has a key where callers need one, or callbacks and
            inputs may go to this very machine though strangers name them, or the port of the metrics is taken.
    """
    logs.configure(service="api")
    application = app(settings)
    require_safe(application.state.service.store, settings)
    if settings.needs_keys:
        _refuse_own_doors(settings)
        _look_for_keys(application.state.service.store, settings.api_host)
    else:
        logger.info("no key is needed: only this machine can reach the API", host=settings.api_host)
    config = uvicorn.Config(
        application,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        # Addresses of callers and of signed results stay out of the log; errors are logged where they happen.
        access_log=False,
        # Who called from where is used for nothing.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    with Listener(settings, application.state.service.registry):
        _Server(config).run()


def _refuse_own_doors(settings: ApiSettings) -> None:
    """Where others than this machine call, nobody's callback or input may go to it, or to a cloud's own addresses."""
    for name in ("callback_allow_hosts", "input_allow_hosts"):
        for entry in getattr(settings, name):
            if is_own_door(entry):
                raise NotSetUp(
                    f"PHOTOMEND_{name.upper()} opens {entry} to everybody who has a key, since the API listens on"
                    f" {settings.api_host}: take it out; it is for a machine of one's own (127.0.0.1)"
                )


def _look_for_keys(store: JobStore, host: str) -> None:
    try:
        if store.keys.any_active():
            return
    except StoreUnavailable as err:
        # It comes up later; until then every call that needs a key is answered 503.
        logger.warning("not known whether anybody has a key", error=str(err))
        return
    raise NotSetUp(
        f"callers need a key on {host}, and there is none yet. Make one: `photomend tenants create NAME`, then"
        " `photomend keys create --tenant NAME`; or listen on 127.0.0.1, where none is needed"
    )


class _Server(uvicorn.Server):
    """Ends open event streams when asked to stop; without that they would hold the process for the whole grace."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        application = self.config.app
        if isinstance(application, FastAPI):
            application.state.service.stopping.set()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    serve(ApiSettings())
