"""Prometheus' own instruments, made from the catalogue. One registry a process, handed in, nothing at import."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from jobs.metrics.catalogue import BUILD, Kind
from jobs.metrics.catalogue import Metric as Described

#: What ``text`` is: the form that every Prometheus reads.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def new_registry(component: str) -> CollectorRegistry:
    """A registry that tells of this process: CPU, memory, files, and which version of what it is."""
    # When each series was made is as many series again, which nobody asks for.
    disable_created_metrics()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    gauge(BUILD, registry).labels(metadata.version("photomend"), component).set(1)
    return registry


def counter(described: Described, registry: CollectorRegistry) -> Counter:
    made = Counter(described.name, described.help, described.labels, registry=registry)
    for labels in filter(None, described.known):
        made.labels(*labels)
    return made


def gauge(described: Described, registry: CollectorRegistry) -> Gauge:
    # Of several processes' gauges, which have a label each, only those of the living are told.
    return Gauge(described.name, described.help, described.labels, registry=registry, multiprocess_mode="livesum")


def histogram(described: Described, registry: CollectorRegistry) -> Histogram:
    return Histogram(described.name, described.help, described.labels, buckets=described.buckets, registry=registry)


def family(described: Described) -> CounterMetricFamily | GaugeMetricFamily:
    """One without values yet, for collectors that read them somewhere at the moment of asking."""
    make = CounterMetricFamily if described.kind is Kind.COUNTER else GaugeMetricFamily
    return make(described.name, described.help, labels=described.labels)


class Live(Collector):
    """A gauge that is read when it is asked for."""

    def __init__(self, described: Described, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """``read`` gives values by labels."""
        self._described = described
        self._read = read

    def collect_into(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        found = family(self._described)
        for labels, value in self._read().items():
            found.add_metric(labels, value)
        yield found


def text(registry: CollectorRegistry) -> bytes:
    """What a registry tells now, in Prometheus' text format 0.0.4."""
    return generate_latest(registry)


class Shared:
    """A folder in which several processes keep their figures: the client library's multiprocess mode.

    A process that is started anew under the same name goes on where the one before ended, so that no crash takes
    anything back and the files do not grow in number.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """What they keep is told by ``registry``, added up."""
        self.folder = Path(tempfile.mkdtemp(prefix="photomend-metrics-"))
        MultiProcessCollector(registry, path=str(self.folder))

    def environment(self) -> dict[str, str]:
        """What such a process has to find in its environment, before the client library is imported."""
        return {"PROMETHEUS_MULTIPROC_DIR": str(self.folder)}

    def forget_gauges(self, name: str) -> None:
        """The process of this name has ended: what it held, it holds no more."""
        mark_process_dead(name, path=str(self.folder))

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def join(name: str) -> None:
    """Keep this process' figures in the folder that PROMETHEUS_MULTIPROC_DIR names, under ``name``.

    To be called before the first instrument is made. No two living processes of a folder may have one name.
    """
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: name)


__all__ = [
    "CONTENT_TYPE",
    "CollectorRegistry",
    "Counter",
    "Gauge",
    "Histogram",
    "Live",
    "Shared",
    "counter",
    "family",
    "gauge",
    "histogram",
    "join",
    "new_registry",
    "text",
]
