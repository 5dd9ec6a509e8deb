"""Reading what a process tells Prometheus, with the client library's own parser."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from jobs.metrics.catalogue import CATALOGUE, Kind

#: By name and by labels.
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]

_OURS = {metric.name: metric for metric in CATALOGUE}


class Figures:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.values: Scraped = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.values[sample.name, frozenset(sample.labels.items())] = sample.value
            if family.name.startswith("photomend_"):
                _check(family)

    def __call__(self, name: str, **labels: str) -> float | None:
        """One value; None where there is none."""
        return self.values.get((name, frozenset(labels.items())))

    def sum(self, name: str, **labels: str) -> float:
        """Of all series of this name that have these labels, among others."""
        wanted = labels.items()
        return sum(value for (known, has), value in self.values.items() if known == name and wanted <= has)

    def labels(self, name: str) -> set[frozenset[tuple[str, str]]]:
        return {labels for known, labels in self.values if known == name}


def _check(family: Iterable[object]) -> None:
    """What is told is in the catalogue, of its kind, under its labels and no others."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    known = _OURS[name]
    assert family.type == str(known.kind)
    assert family.documentation == known.help
    for sample in family.samples:
        own = {"le"} if known.kind is Kind.HISTOGRAM and sample.name.endswith("_bucket") else set()
        assert set(sample.labels) == set(known.labels) | own, sample


def scrape(url: str, **headers: str) -> Figures:
    answer = httpx.get(url, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Figures(answer.text)
