"""The API process: settings, clients, serve. ``python -m api``, or ``uvicorn --factory api.__main__:app``."""

from __future__ import annotations

from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.settings import ApiSettings
from api.strangers import is_loopback
from jobs import logs
from jobs.blobs import BlobStore
from jobs.store import JobStore

logger = structlog.get_logger(__name__)

#: Requests in work may take this long to end after SIGTERM.
GRACE_S = 10


def app(settings: ApiSettings | None = None) -> FastAPI:
    """The application over real clients, settings from the environment unless given."""
    chosen = settings or ApiSettings()
    return create_app(JobStore.connect(chosen), BlobStore.connect(chosen), chosen)


def serve(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    logs.configure(service="api")
    if not is_loopback(settings.api_host):
        logger.warning("there are no keys: whoever reaches this address may submit jobs", host=settings.api_host)
    config = uvicorn.Config(
        app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        # Addresses of callers and of signed results stay out of the log; errors are logged where they happen.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config).run()


class _Server(uvicorn.Server):
    """Ends open event streams when asked to stop; without that they would hold the process for the whole grace."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        application = self.config.app
        if isinstance(application, FastAPI):
            application.state.service.stopping.set()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    serve(ApiSettings())
