"""What the supervisor tells Prometheus: what its processes count, in files that outlive them, and what it sees itself.

Its processes write into one folder (``jobs.metrics.instruments.Shared``); a scrape adds them up.
"""

from __future__ import annotations

from jobs.metrics import catalogue, instruments
from jobs.metrics.instruments import Live, Shared
from jobs.metrics.listener import Listener
from worker import memory
from worker.exits import Exit
from worker.settings import WorkerSettings

_MEGABYTE = 1024 * 1024


class ProcessFigures:
    """The figures of one supervisor and its processes; of none where no port is set."""

    def __init__(self, settings: WorkerSettings | None = None) -> None:
        """Listen from now on.

        Raises:
            NotSetUp: the metrics' port is taken.
        """
        registry = instruments.new_registry("worker")
        self._exits = instruments.counter(catalogue.PROCESS_EXITS, registry)
        self._pids: dict[str, int] = {}
        Live(catalogue.PROCESSES, lambda: {(): len(self._pids)}).collect_into(registry)
        Live(catalogue.RESIDENT_MEMORY, self._held).collect_into(registry)
        self._listener = Listener(settings, registry) if settings is not None else None
        self._shared = Shared(registry) if self._listener is not None and self._listener.port is not None else None

    def environment(self, process: str) -> dict[str, str]:
        """What a process of this name needs to know, to tell its figures through us."""
        if self._shared is None:
            return {}
        return self._shared.environment() | {"PHOTOMEND_METRICS_NAME": process}

    def started(self, process: str, pid: int) -> None:
        self._pids = self._pids | {process: pid}

    def ended(self, process: str, how: Exit) -> None:
        self._pids = {name: pid for name, pid in self._pids.items() if name != process}
        self._exits.labels(how.label).inc()
        if self._shared is not None:
            self._shared.forget_gauges(process)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._shared is not None:
            self._shared.close()

    def _held(self) -> dict[tuple[str, ...], float]:
        return {(name,): memory.rss_mb(pid) * _MEGABYTE for name, pid in self._pids.items()}
