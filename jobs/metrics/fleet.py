"""The fleet's figures for Prometheus, read from Redis when they are asked for, but not more often than they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import StoreUnavailable
from jobs.figures import Figures
from jobs.metrics import catalogue
from jobs.metrics.catalogue import Metric, Source
from jobs.metrics.instruments import family

logger = structlog.get_logger(__name__)

#: One reading serves all who ask within this time (seconds): two Prometheus servers cost Redis no more than one.
KNOWN_S = 2.0

#: What a field of the tally is told as: by its first word, and with so many labels in its others.
_TALLIED: Mapping[str, Metric] = {
    "submitted": catalogue.SUBMITTED,
    "ended": catalogue.JOBS,
    "returned": catalogue.RETURNED,
    "resent": catalogue.RESENT,
    "suspected": catalogue.SUSPECTED,
    "faces": catalogue.FACES,
    "megapixels": catalogue.MEGAPIXELS,
    "gpu_s": catalogue.GPU_SECONDS,
}

Family = CounterMetricFamily | GaugeMetricFamily


class FleetCollector(Collector):
    """Safe from several threads; a Redis that does not answer is a figure too."""

    def __init__(self, read: Callable[[], Figures], *, clock: Callable[[], float] = time.monotonic) -> None:
        """``read`` is ``JobStore.figures``."""
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, Figures | None] = (float("-inf"), None)

    def collect(self) -> Iterator[Family]:
        figures = self._now()
        yield _one(catalogue.STORE_UP, 0 if figures is None else 1)
        if figures is not None:
            yield from _families(figures)

    def describe(self) -> Iterable[Family]:
        """Their names, so that no other collector of a registry takes one; Redis is not asked for that."""
        return [family(metric) for metric in catalogue.of(Source.FLEET)]

    def _now(self) -> Figures | None:
        with self._lock:
            at, figures = self._known
            if self._clock() - at >= KNOWN_S:
                try:
                    figures = self._read()
                except StoreUnavailable as err:
                    logger.warning("the fleet's figures are missing", error=str(err))
                    figures = None
                self._known = self._clock(), figures
            return figures


def _families(figures: Figures) -> Iterator[Family]:
    yield _one(catalogue.BACKLOG_WORK, figures.work_s)
    yield _each(catalogue.WAITING, figures.waiting)
    yield _each(catalogue.SENT, figures.sent)
    yield _each(catalogue.RUNNING, figures.running)
    yield _each(catalogue.OLDEST_WAITING, figures.oldest_s)
    yield _one(catalogue.WORKERS, figures.workers)
    yield _each(catalogue.SLOTS, {"free": figures.free, "busy": max(0, figures.total - figures.free)})
    yield _one(catalogue.DEAD_LETTERS, figures.dead)
    yield _one(catalogue.CALLBACKS_WAITING, figures.callbacks_waiting)
    yield _one(catalogue.CALLBACKS_UNDELIVERED, figures.callbacks_undelivered)
    yield _each(catalogue.BATCHES, figures.batches)
    yield _each(catalogue.BATCH_ITEMS, figures.items)
    yield from _tallied(figures.tally)


def _tallied(tally: Mapping[str, float]) -> Iterator[Family]:
    told = {word: family(metric) for word, metric in _TALLIED.items()}
    for field, value in tally.items():
        word, *labels = field.split(" ")
        # A newer version may count what this one does not know.
        if word in told and len(labels) == len(_TALLIED[word].labels):
            told[word].add_metric(labels, value)
    for word, metric in _TALLIED.items():
        for values in metric.known:
            if " ".join((word, *values)) not in tally:
                told[word].add_metric(list(values), 0)
    yield from told.values()


def _one(metric: Metric, value: float) -> Family:
    found = family(metric)
    found.add_metric([], value)
    return found


def _each(metric: Metric, by: Mapping[str, float]) -> Family:
    found = family(metric)
    for label, value in by.items():
        found.add_metric([label], value)
    return found
