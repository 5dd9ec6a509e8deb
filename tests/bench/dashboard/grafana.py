"""What Grafana makes of a dashboard's JSON: panels, their places, and queries with its variables put in.

Sources: https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/ ($__rate_interval is
max($__interval + scrape, 4 * scrape)), https://grafana.com/docs/grafana/latest/panels-visualizations/query-transform-data/
($__interval is the range by the panel's pixels, rounded, and not below the data source's scrape interval).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

#: Columns of the grid; height of a row, and what lies between rows (px), as Grafana has them.
COLUMNS, ROW_PX, GAP_PX = 24, 30, 8
#: What $__interval is rounded to (seconds).
INTERVALS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


class DashboardBroken(Exception):
    """Raised when a dashboard asks for what Grafana, or this reading of it, cannot do; names the panel or variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A panel's place: columns and rows of the grid, from the top left corner."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One query of a panel."""

    expr: str
    legend: str  #: legendFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel, as far as it shows in a picture."""

    title: str
    kind: str  #: row, stat or timeseries
    box: Box
    targets: tuple[Target, ...] = ()
    unit: str = "none"
    decimals: int | None = None
    lowest: float | None = None  #: of the scale; None = as the data are
    highest: float | None = None
    is_stacked: bool = False
    fill: float = 0.0  #: opacity, 0 to 1
    shows_points: bool = False  #: single values, which no line joins to others, are seen
    spans_s: float = 0.0  #: gaps up to this long are joined by a line
    steps: tuple[tuple[float, str], ...] = ()  #: from which value on which colour
    colours: tuple[tuple[str, str], ...] = ()  #: curves' own colours, by regular expressions of names; the last wins
    words: Mapping[str, str] = field(default_factory=dict)  #: what is shown in the place of a value


KINDS = ("row", "stat", "timeseries")


def read(path: Path) -> tuple[Panel, ...]:
    """A dashboard's panels, in their order.

    Raises:
        DashboardBroken: a panel is of a kind, or has overrides, that are not drawn here.
    """
    return tuple(_panel(words) for words in json.loads(path.read_text())["panels"])


def _panel(words: Mapping[str, Any]) -> Panel:
    if words["type"] not in KINDS:
        raise DashboardBroken(f"{words['title']}: panels of the kind {words['type']} are not drawn here")
    defaults = words.get("fieldConfig", {}).get("defaults", {})
    custom = defaults.get("custom", {})
    steps = defaults.get("thresholds", {}).get("steps", ())
    return Panel(
        title=words["title"],
        kind=words["type"],
        box=Box(**words["gridPos"]),
        targets=tuple(Target(expr=one["expr"], legend=one["legendFormat"]) for one in words.get("targets", ())),
        unit=defaults.get("unit", "none"),
        decimals=defaults.get("decimals"),
        lowest=defaults.get("min"),
        highest=defaults.get("max"),
        is_stacked=custom.get("stacking", {}).get("mode", "none") == "normal",
        fill=custom.get("fillOpacity", 0) / 100,
        shows_points=custom.get("showPoints", "auto") != "never",
        spans_s=_spans_s(custom.get("spanNulls", False)),
        colours=tuple(_colours(words.get("fieldConfig", {}).get("overrides", ()), words["title"])),
        words={
            value: shown["text"]
            for mapping in defaults.get("mappings", ())
            for value, shown in mapping["options"].items()
        },
        steps=tuple((float("-inf") if s["value"] is None else s["value"], s["color"]) for s in steps),
    )


def _colours(overrides: Iterable[Mapping[str, Any]], title: str) -> Iterator[tuple[str, str]]:
    for one in overrides:
        (said,) = one["properties"]
        if one["matcher"]["id"] != "byRegexp" or said["id"] != "color" or said["value"]["mode"] != "fixed":
            raise DashboardBroken(f"{title}: only fixed colours by regular expressions are drawn here")
        yield one["matcher"]["options"].strip("/"), said["value"]["fixedColor"]


def _spans_s(told: bool | float) -> float:
    """False, True or milliseconds."""
    if isinstance(told, bool):
        return float("inf") if told else 0.0
    return told / 1000


def interval_s(range_s: float, *, width_px: float, scrape_s: int) -> int:
    """``$__interval``: seconds between two points of a panel that is so wide."""
    wanted = range_s / width_px
    rounded = next(
        (low for low, high in pairwise(INTERVALS_S) if wanted < (low + high) / 2),
        INTERVALS_S[-1],
    )
    return max(scrape_s, rounded)


def rate_interval_s(step_s: int, *, scrape_s: int) -> int:
    """``$__rate_interval``, in seconds."""
    return max(step_s + scrape_s, 4 * scrape_s)


def substituted(expr: str, *, step_s: int, scrape_s: int, range_s: int) -> str:
    """The query as Grafana sends it.

    Raises:
        DashboardBroken: it has a variable that nothing is known for.
    """
    known = {
        "__rate_interval": f"{rate_interval_s(step_s, scrape_s=scrape_s)}s",
        "__interval": f"{step_s}s",
        "__range": f"{range_s}s",
    }

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        if name not in known:
            raise DashboardBroken(f"${name} in {expr}: no such variable")
        return known[name]

    # A $ that no name follows is a regular expression's end.
    return re.sub(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>\w+))", value, expr)


def legend(template: str, labels: Mapping[str, str]) -> str:
    """What a curve is called: ``legendFormat`` with its labels, or the series itself where there is none."""
    if not template:
        told = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if name != "__name__")
        return labels.get("__name__", "") + (f"{{{told}}}" if told else "")
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)


def bounds_px(box: Box, *, width_px: float) -> tuple[float, float, float, float]:
    """Left, top, width and height in a picture that is so wide."""
    column = (width_px - GAP_PX) / COLUMNS
    left, top = GAP_PX + box.x * column, GAP_PX + box.y * (ROW_PX + GAP_PX)
    return left, top, box.w * column - GAP_PX, box.h * (ROW_PX + GAP_PX) - GAP_PX


def height_px(panels: tuple[Panel, ...]) -> float:
    """Of the whole picture."""
    return GAP_PX + max(panel.box.y + panel.box.h for panel in panels) * (ROW_PX + GAP_PX)
