"""The reading of Grafana's dashboards: variables, intervals, legends, units, places; a picture of canned answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from jobs.metrics.catalogue import CATALOGUE
from tests.bench.dashboard import expected
from tests.bench.dashboard.__main__ import DASHBOARD, RULES, problems
from tests.bench.dashboard.draw import CARD, COLOURS, PALETTE, Span, curve_colour, draw, legend_lines
from tests.bench.dashboard.grafana import (
    Box,
    DashboardBroken,
    bounds_px,
    height_px,
    interval_s,
    legend,
    rate_interval_s,
    read,
    substituted,
)
from tests.bench.dashboard.prometheus import Asked, Curve, QueryRefused
from tests.bench.dashboard.shown import WIDTH_PX, Answer, Shown, ask, still, without_data
from tests.bench.dashboard.units import worded

START = 1_700_000_000.0
SPAN = Span(start=START, end=START + 60)


def panel(title: str, kind: str = "timeseries", **words: Any) -> dict[str, Any]:
    x, y, w, h = words.pop("at", (0, 0, 8, 7))
    targets = words.pop("targets", [{"expr": "up", "legendFormat": "{{job}}"}])
    defaults = {"unit": "none", "custom": words.pop("custom", {})} | words.pop("defaults", {})
    fields = {"defaults": defaults, "overrides": words.pop("overrides", [])}
    place = {"x": x, "y": y, "w": w, "h": h}
    return {"title": title, "type": kind, "gridPos": place, "targets": targets, "fieldConfig": fields} | words


def dashboard(folder: Path, *panels: dict[str, Any]) -> Path:
    file = folder / "dashboard.json"
    file.write_text(json.dumps({"panels": panels}))
    return file


def canned(*answers: Any) -> tuple[Asked, list[dict[str, str]]]:
    """A Prometheus that gives these answers in turn, and what it was asked."""
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json=answers[len(asked) - 1])

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://canned/api/v1")
    return Asked(client, scrape_s=1), asked


def matrix(*series: tuple[dict[str, str], list[float]]) -> dict[str, Any]:
    """As the API words it: values are strings."""
    result = [
        {"metric": labels, "values": [[START + n, str(value)] for n, value in enumerate(values)]}
        for labels, values in series
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


# -- Grafana's variables and names


@pytest.mark.parametrize(
    ("range_s", "width_px", "scrape_s", "step"),
    [(150, 500, 1, 1), (10_800, 500, 15, 20), (10_800, 1000, 15, 15), (86_400, 500, 15, 120), (1e9, 1, 1, 86_400)],
)
def test_the_interval_follows_range_and_width_and_is_never_below_the_scrapes(
    range_s: float, width_px: float, scrape_s: int, step: int
):
    assert interval_s(range_s, width_px=width_px, scrape_s=scrape_s) == step


def test_the_rate_interval_holds_four_scrapes_or_a_step_and_one():
    assert rate_interval_s(15, scrape_s=15) == 60
    assert rate_interval_s(120, scrape_s=15) == 135


def test_variables_are_put_in_and_an_unknown_one_is_refused():
    expr = 'rate(x{a=~"b$"}[$__rate_interval]) + increase(x[${__range}]) + x[$__interval:1s]'
    told = substituted(expr, step_s=2, scrape_s=1, range_s=150)
    assert told == 'rate(x{a=~"b$"}[4s]) + increase(x[150s]) + x[2s:1s]'
    with pytest.raises(DashboardBroken, match=r"\$tenant"):
        substituted("x{tenant=~'$tenant'}", step_s=2, scrape_s=1, range_s=150)


def test_a_legend_has_the_labels_values_or_is_the_series_itself():
    labels = {"__name__": "up", "job": "api", "code": ""}
    assert legend("of {{ job }}{{code}}{{none}}", labels) == "of api"
    assert legend("", labels) == 'up{code="", job="api"}'
    assert legend("", {}) == ""


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0123, "s", "12.3 ms"),
        (90, "s", "1.5 min"),
        (0, "s", "0 s"),
        (-5, "s", "-5 s"),
        (3 * 2**30, "bytes", "3 GiB"),
        (0, "bytes", "0 B"),
        (0.256, "percentunit", "25.6%"),
        (2, "suffix: jobs/s", "2 jobs/s"),
        (1234567, "none", "1234567"),
        (1.5, "reqps", "1.5 req/s"),
        (math.nan, "s", "NaN"),
    ],
)
def test_values_are_worded_with_their_unit(value: float, unit: str, words: str):
    assert worded(value, unit) == words


def test_a_unit_that_is_not_known_and_decimals():
    assert worded(0.256, "percentunit", decimals=0) == "26%"
    with pytest.raises(DashboardBroken, match="furlongs"):
        worded(1, "furlongs")


# -- places and forms


def test_panels_lie_where_the_grid_has_them():
    left = bounds_px(Box(x=0, y=1, w=12, h=4), width_px=1208)
    right = bounds_px(Box(x=12, y=1, w=12, h=4), width_px=1208)
    assert left == (8, 46, 592, 144)
    assert right[0] == left[0] + left[2] + 8
    assert right[0] + right[2] == 1200


def test_what_is_not_drawn_here_is_refused(tmp_path: Path):
    with pytest.raises(DashboardBroken, match="pie: panels of the kind piechart"):
        read(dashboard(tmp_path, panel("pie", "piechart")))
    odd = {"matcher": {"id": "byName", "options": "a"}, "properties": [{"id": "unit", "value": "s"}]}
    with pytest.raises(DashboardBroken, match="odd: only fixed colours"):
        read(dashboard(tmp_path, panel("odd", overrides=[odd])))


def test_a_curve_has_its_own_colour_or_the_next(tmp_path: Path):
    red = {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}
    file = dashboard(
        tmp_path, panel("a", overrides=[{"matcher": {"id": "byRegexp", "options": "/^5/"}, "properties": [red]}])
    )
    (one,) = read(file)
    assert curve_colour(one, "503", 0) == COLOURS["red"]
    assert curve_colour(one, "250", 1) == PALETTE[1]


def test_a_legend_that_is_too_long_goes_on_in_the_next_line():
    names = [f"a name of some length {n}" for n in range(9)]
    lines = legend_lines(names, 500)
    assert len(lines) > 1
    assert [name for line in lines for name in line] == names
    assert legend_lines(["a", "b"], 500) == [["a", "b"]]


# -- canned answers


def test_a_panels_queries_are_sent_as_grafana_sends_them_and_their_curves_are_named(tmp_path: Path):
    targets = [
        {"expr": "rate(x[$__rate_interval])", "legendFormat": "{{code}}"},
        {"expr": "y", "legendFormat": "waiting"},
    ]
    server, asked = canned(matrix(({"code": "a"}, [0, 1, 2]), ({"code": "b"}, [math.nan, 0, 0])), matrix())
    (one,) = ask(server, read(dashboard(tmp_path, panel("p", targets=targets))), start=START + 0.4, end=START + 60.7)
    assert [words["query"] for words in asked] == ["rate(x[4s])", "y"]
    assert {(float(words["start"]), float(words["end"]), words["step"]) for words in asked} == {
        (START, START + 60, "1")
    }
    assert [name for name, _ in one.answers[0].named] == ["a", "b"]
    assert one.told()["series"] == 2
    assert one.told()["points"] == 5
    assert one.told()["queries"][0]["highest"] == 2
    assert without_data([one]) == [("p", "waiting")]
    assert still([one]) == []


def test_prometheus_refusal_is_told_with_the_query():
    server, _ = canned({"status": "error", "errorType": "bad_data", "error": "unexpected end of input"})
    with pytest.raises(QueryRefused, match=r"rate\(: unexpected end of input"):
        server.range("rate(", start=START, end=START + 1, step_s=1)


def shown_of(folder: Path, *pairs: tuple[dict[str, Any], list[list[float]]]) -> list[Shown]:
    panels = read(dashboard(folder, *(words for words, _ in pairs)))
    return [
        Shown(
            panel=one,
            answers=tuple(
                Answer(
                    target=one.targets[0],
                    curves=tuple(
                        Curve({"job": f"j{n}"}, tuple((START + 2 * k, v) for k, v in enumerate(values)))
                        for n, values in enumerate(curves)
                    ),
                    step_s=2,
                )
                for _ in one.targets
            ),
        )
        for one, (_, curves) in zip(panels, pairs, strict=True)
    ]


def test_the_picture_has_each_panel_at_its_place(tmp_path: Path):
    steps = {"thresholds": {"steps": [{"color": "green", "value": None}, {"color": "red", "value": 3}]}}
    shown = shown_of(
        tmp_path,
        (panel("row", "row", at=(0, 0, 24, 1), targets=[]), []),
        (panel("stat", "stat", at=(0, 1, 8, 4), defaults=steps), [[1.0, 4.0]]),
        (panel("full", at=(0, 5, 8, 7), custom={"fillOpacity": 100}, defaults={"min": 0, "max": 1}), [[1.0] * 31]),
        (panel("empty", at=(8, 5, 8, 7)), []),
    )
    draw(shown, tmp_path / "out" / "picture.png", span=SPAN)
    with Image.open(tmp_path / "out" / "picture.png") as picture:
        assert picture.size == (int(WIDTH_PX), int(height_px(tuple(one.panel for one in shown))))
        pixels = np.asarray(picture.convert("RGB"), dtype=int)

    def share(number: int, colour: str) -> float:
        left, top, width, height = (int(side) for side in bounds_px(shown[number].panel.box, width_px=WIDTH_PX))
        part = pixels[top + 2 : top + height - 2, left + 2 : left + width - 2]
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        return float((np.abs(part - wanted).max(axis=2) < 12).mean())

    # The last value is above the threshold; the curve fills its axes; the panel without data has none.
    assert share(1, COLOURS["red"]) > 0.003
    assert share(1, COLOURS["green"]) == 0
    assert share(2, PALETTE[0]) > 0.4
    assert share(3, PALETTE[0]) == 0
    assert share(3, CARD) > 0.9


def test_a_gap_of_a_stacked_curve_stays_a_gap_and_a_lonely_point_is_seen_where_it_should(tmp_path: Path):
    lonely = [math.nan, math.nan, 5.0, math.nan, math.nan]
    custom = {"stacking": {"mode": "normal"}}
    shown = shown_of(
        tmp_path,
        (panel("seen", at=(0, 0, 12, 7), custom=custom | {"showPoints": "auto"}), [lonely]),
        (panel("unseen", at=(12, 0, 12, 7), custom=custom | {"showPoints": "never"}), [lonely]),
    )
    draw(shown, tmp_path / "picture.png", span=SPAN)
    with Image.open(tmp_path / "picture.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    green = np.abs(pixels[:200] - np.array([0x73, 0xBF, 0x69])).max(axis=2) < 40
    # Above the legend.
    half = pixels.shape[1] // 2
    assert green[:, :half].sum() > 0
    assert green[:, half:].sum() == 0


# -- what is expected


def test_what_is_missing_without_a_reason_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown = shown_of(tmp_path, (panel("a"), []), (panel("b"), [[0.0, 0.0]]), (panel("c"), [[0.0, 1.0]]))
    quiet = {name: ["firing"] for name in expected.FIRES} | {name: ["pending"] for name in expected.PENDS}
    assert len(list(problems(shown, quiet))) == 2
    monkeypatch.setattr(expected, "EMPTY", {("a", "{{job}}"): "for the test"})
    monkeypatch.setattr(expected, "STILL", {("b", "{{job}}"): "for the test"})
    assert list(problems(shown, quiet)) == []
    fires, pends = next(iter(expected.FIRES)), next(iter(expected.PENDS))
    for alerts, words in (
        ({fires: []}, "did not fire"),
        ({pends: []}, "was not pending"),
        ({"PhotomendBatchStarves": ["firing"]}, "fired, though"),
        ({"PhotomendBatchStarves": ["pending"]}, "was pending, though"),
        ({"PhotomendBatchStarves": ["error: x"]}, "cannot be evaluated"),
    ):
        (problem,) = problems(shown, quiet | alerts)
        assert words in problem


def test_reasons_are_for_panels_and_alerts_that_there_are():
    known = {(one.title, target.legend) for one in read(DASHBOARD) for target in one.targets}
    assert set(expected.EMPTY) | set(expected.STILL) <= known
    rules = RULES.read_text()
    for name in (*expected.FIRES, *expected.PENDS, *expected.MAY_PEND):
        assert f"alert: {name}\n" in rules


def test_every_metric_that_an_operator_looks_for_is_on_a_panel():
    asked = " ".join(target.expr for one in read(DASHBOARD) for target in one.targets)
    # Told to machines, or seen by another figure.
    elsewhere = {"build_info", "worker_processes", "attempts_total", "lane_runs_total", "keeper_loop_failures_total"}
    missing = {metric.name.removeprefix("photomend_") for metric in CATALOGUE if metric.name not in asked}
    assert missing == elsewhere
