"""A port on which Prometheus reads a process' figures. No key: it belongs into a network without strangers."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from jobs.errors import NotSetUp
from jobs.settings import JobsSettings

logger = structlog.get_logger(__name__)


class Listener:
    """Answers until it is closed, in threads of its own; nothing at all where no port is set."""

    def __init__(self, settings: JobsSettings, registry: CollectorRegistry) -> None:
        """Listen from now on.

        Raises:
            NotSetUp: the address is taken, or none of this machine's.
        """
        #: Where it listens; None: nowhere.
        self.port: int | None = None
        if settings.metrics_port is None:
            return
        host, port = settings.metrics_host, settings.metrics_port
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as err:
            taken = f"PHOTOMEND_METRICS_HOST and _PORT: {host}:{port} cannot be listened on ({err.strerror})"
            raise NotSetUp(taken) from err
        self.port = int(self._server.server_port)
        logger.info("metrics are told", host=host, port=self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.port is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self.port = None
