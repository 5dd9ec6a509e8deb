"""The catalogue of metrics keeps to Prometheus' rules for names, units and labels."""

from __future__ import annotations

import re

import pytest

from jobs.metrics import catalogue
from jobs.metrics.catalogue import CATALOGUE, Kind, Metric
from jobs.metrics.instruments import counter, new_registry, text
from tests.scraped import Figures

#: Units of Prometheus' own list, and what counts things rather than measures them.
UNITS = ("_seconds", "_bytes")
#: Set by Prometheus itself, or by the text format.
TAKEN = {"job", "instance", "le", "quantile", "namespace", "pod", "service", "container"}


def test_the_catalogue_is_there_and_no_name_comes_twice():
    names = [metric.name for metric in CATALOGUE]
    assert len(names) > 40
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_name_says_whose_it_is_and_in_what_unit(metric: Metric):
    assert re.fullmatch(r"photomend_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
    for wrong in ("_ms", "_minutes", "_percent", "_mb", "_megabytes", "_count", "_sum", "_bucket"):
        assert not metric.name.removesuffix("_total").endswith(wrong)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_it_has_few_labels_none_of_which_is_prometheus_own(metric: Metric):
    assert len(metric.labels) <= 3
    assert not set(metric.labels) & TAKEN
    # What each label means, or is filled with, is told.
    assert metric.help.endswith(".")
    assert len(metric.help) > 10


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_histograms_and_they_alone_have_bounds_that_grow(metric: Metric):
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert len(metric.buckets) <= 12
    assert len(metric.series) == (3 if metric.buckets else 1)


@pytest.mark.parametrize("metric", [one for one in CATALOGUE if one.known], ids=lambda metric: metric.name)
def test_what_is_told_from_the_beginning_has_a_value_for_each_label_and_is_told_as_zero(metric: Metric):
    assert metric.kind is Kind.COUNTER
    assert len(set(metric.known)) == len(metric.known)
    assert {len(values) for values in metric.known} == {len(metric.labels)}
    registry = new_registry("test")
    counter(metric, registry)
    figures = Figures(text(registry).decode())
    for values in metric.known:
        assert figures(metric.name, **dict(zip(metric.labels, values, strict=True))) == 0


def test_counters_that_have_to_show_rare_trouble_are_told_from_the_beginning():
    rare = {"leases_lost", "worker_process_exits", "jobs_suspected", "jobs_returned", "jobs_resent", "attempts"}
    known = {metric.name for metric in CATALOGUE if metric.known}
    assert {f"photomend_{name}_total" for name in rare} <= known


def test_the_scaling_figure_keeps_the_name_that_the_scaled_object_asks_for():
    assert "photomend_backlog_work_seconds" in catalogue.series()
    assert "photomend_stage_seconds_bucket" in catalogue.series()
    assert "photomend_stage_seconds" not in catalogue.series()
