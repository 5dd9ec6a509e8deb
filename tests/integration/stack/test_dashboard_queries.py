"""A real Prometheus scrapes every metric of the catalogue for seconds: it answers all that dashboard and alerts ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from jobs.metrics import instruments
from jobs.metrics.catalogue import CATALOGUE, Kind, Metric
from tests import services
from tests.bench.dashboard.__main__ import DASHBOARD, RULES
from tests.bench.dashboard.grafana import read
from tests.bench.dashboard.prometheus import Asked, QueryRefused, prometheus
from tests.bench.dashboard.shown import Shown, ask, without_data
from tests.fleet import wait_for

#: Values of labels, where any would not do: those that queries choose by.
LABELS = {
    "priority": ("interactive", "batch", "suspect"),
    "state": ("busy", "free", "failed"),
    "status": ("202", "503"),
    "cause": ("SIGSEGV", "told"),
}
#: So many scrapes, a second apart, that the shortest window of a panel has two.
SCRAPES = 5


class Playing(threading.Thread):
    """Every metric of the catalogue, in this process; everything moves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(daemon=True)
        make = {
            Kind.COUNTER: instruments.counter,
            Kind.GAUGE: instruments.gauge,
            Kind.HISTOGRAM: instruments.histogram,
        }
        self._moved = [one for metric in CATALOGUE for one in labelled(metric, make[metric.kind](metric, registry))]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.2):
            for one in self._moved:
                one.observe(0.2) if isinstance(one, Histogram) else one.inc()

    def end(self) -> None:
        self._ended.set()
        self.join()


def labelled(metric: Metric, made: Counter | Gauge | Histogram) -> Iterator[Counter | Gauge | Histogram]:
    if not metric.labels:
        yield made
        return
    for place in range(3):
        values = [LABELS.get(name, ("a",)) for name in metric.labels]
        yield made.labels(*(words[min(place, len(words) - 1)] for words in values))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asked, float]]:
    """A Prometheus that has recorded for some seconds, and since when."""
    registry = CollectorRegistry()
    playing = Playing(registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    playing.start()
    target = {"api": f"127.0.0.1:{server.server_port}"}
    try:
        with prometheus(tmp_path_factory.mktemp("prometheus"), target, rules=RULES) as asked:
            start = time.time()

            def is_enough() -> bool:
                curves = asked.range("photomend_workers", start=start, end=time.time(), step_s=1)
                return bool(curves) and len(curves[0].points) >= SCRAPES

            wait_for(is_enough, what="enough is recorded")
            yield asked, start
    except FileNotFoundError:
        services.missing("prometheus is not installed: deploy/bootstrap.sh takes it out of Debian's package")
    finally:
        playing.end()
        server.shutdown()
        server.server_close()
        thread.join()


def test_every_query_of_the_dashboard_is_answered_and_none_is_left_empty(recorded: tuple[Asked, float]):
    asked, start = recorded
    shown: list[Shown] = ask(asked, read(DASHBOARD), start=start, end=time.time())
    assert sum(len(one.answers) for one in shown) > 40
    assert without_data(shown) == []


def test_every_alert_can_be_evaluated_over_it(recorded: tuple[Asked, float]):
    asked, _ = recorded
    wait_for(lambda: all(rule["health"] != "unknown" for rule in asked.alerts()), what="all rules were evaluated")
    assert {rule["name"]: rule.get("lastError") for rule in asked.alerts() if rule["health"] != "ok"} == {}
    # What moves in the catalogue's every metric is trouble of nearly every kind.
    assert {rule["name"] for rule in asked.alerts() if rule["state"] == "firing"} >= {"PhotomendJobsGivenUp"}


def test_a_query_that_prometheus_refuses_is_no_empty_panel(recorded: tuple[Asked, float]):
    asked, start = recorded
    with pytest.raises(QueryRefused, match="parse error"):
        asked.range("rate(photomend_jobs_total[4s)", start=start, end=time.time(), step_s=1)
