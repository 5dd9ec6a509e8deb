"""What each panel gets from Prometheus: its curves by query, and what is missing though it should be there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.dashboard.grafana import Panel, Target, bounds_px, interval_s, legend, substituted
from tests.bench.dashboard.prometheus import Asked, Curve

#: Of the whole picture, as of a browser's window (px).
WIDTH_PX = 1600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one query of a panel came to."""

    target: Target
    curves: tuple[Curve, ...]
    step_s: int

    @property
    def named(self) -> list[tuple[str, Curve]]:
        """Curves under the names that the legend shows."""
        return [(legend(self.target.legend, curve.labels), curve) for curve in self.curves]

    @property
    def values(self) -> list[float]:
        """All that can be drawn."""
        return [value for curve in self.curves for _, value in curve.points if math.isfinite(value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One panel and its answers."""

    panel: Panel
    answers: tuple[Answer, ...]

    def told(self) -> dict[str, Any]:
        """For the report."""
        return {
            "panel": self.panel.title,
            "series": sum(len(answer.curves) for answer in self.answers),
            "points": sum(len(answer.values) for answer in self.answers),
            "queries": [_told(answer) for answer in self.answers],
        }


def _told(answer: Answer) -> dict[str, Any]:
    values = answer.values
    return {
        "legend": answer.target.legend,
        "curves": sorted(name for name, _ in answer.named),
        "points": len(values),
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
    }


def ask(server: Asked, panels: Sequence[Panel], *, start: float, end: float) -> list[Shown]:
    """Every panel's queries, as Grafana would send them for this span (Unix time in s).

    Raises:
        DashboardBroken: a query has a variable that is not known.
        QueryRefused: Prometheus refuses a query.
    """
    return [Shown(panel=panel, answers=tuple(_asked(server, panel, start, end))) for panel in panels]


def _asked(server: Asked, panel: Panel, start: float, end: float) -> Iterator[Answer]:
    width = bounds_px(panel.box, width_px=WIDTH_PX)[2]
    step = interval_s(end - start, width_px=width, scrape_s=server.scrape_s)
    # Grafana moves both ends onto multiples of the step.
    start, end = (at // step * step for at in (start, end))
    for target in panel.targets:
        expr = substituted(target.expr, step_s=step, scrape_s=server.scrape_s, range_s=math.ceil(end - start))
        yield Answer(target=target, curves=tuple(server.range(expr, start=start, end=end, step_s=step)), step_s=step)


def without_data(shown: Sequence[Shown]) -> list[tuple[str, str]]:
    """Panel and legend of each query to which nothing came that can be drawn."""
    return [(one.panel.title, answer.target.legend) for one in shown for answer in one.answers if not answer.values]


def still(shown: Sequence[Shown]) -> list[tuple[str, str]]:
    """Panel and legend of each query all of whose curves stay at 0, and so say nothing."""
    return [
        (one.panel.title, answer.target.legend)
        for one in shown
        for answer in one.answers
        if answer.values and not any(answer.values)
    ]
