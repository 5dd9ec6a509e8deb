"""A dashboard as one picture: every panel at its place of the grid, in Grafana's dark colours."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from tests.bench.dashboard.grafana import Panel, bounds_px, height_px
from tests.bench.dashboard.prometheus import Curve
from tests.bench.dashboard.shown import WIDTH_PX, Shown
from tests.bench.dashboard.units import worded

DPI, TONES = 100, 256
PAGE, CARD, TEXT, FAINT, LINE = "#111217", "#181b1f", "#ccccdc", "#8e8ea0", "#2c3235"
PALETTE = (
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a",
    "#ffb357", "#c4162a",
)  # fmt: skip
COLOURS = {
    "green": "#73bf69", "light-green": "#c8f2c2", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2",
    "yellow": "#fade2a", "purple": "#b877d9", "text": "#ccccdc",
}  # fmt: skip
SMALL, TITLE, NUMBER = 7.0, 8.5, 22.0
#: Of a panel, for its title, and beside its axes (px).
TITLE_PX, LEFT_PX, RIGHT_PX, BOTTOM_PX, LEGEND_PX = 28.0, 62.0, 14.0, 22.0, 17.0
#: What a letter of the legend takes, and what stands before each name (px).
LETTER_PX, KEY_PX, LEGEND_LINES = 5.6, 30.0, 3


class Sheet:
    """A figure that is measured in pixels from its top left corner."""

    def __init__(self, width_px: float, height: float) -> None:
        self.width, self.height = width_px, height
        self.figure = Figure(figsize=(width_px / DPI, height / DPI), dpi=DPI, facecolor=PAGE)

    def card(self, left: float, top: float, width: float, height: float) -> None:
        box = Rectangle(
            (left / self.width, 1 - (top + height) / self.height),
            width / self.width,
            height / self.height,
            transform=self.figure.transFigure,
            facecolor=CARD,
            edgecolor=LINE,
            linewidth=0.7,
            zorder=-1,  # axes are at 0
        )
        self.figure.add_artist(box)

    def text(self, left: float, top: float, words: str, *, size: float = SMALL, colour: str = TEXT, **how: Any) -> None:
        style = {"ha": "left", "va": "center"} | how
        self.figure.text(left / self.width, 1 - top / self.height, words, fontsize=size, color=colour, **style)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        place = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes: Axes = self.figure.add_axes(place, facecolor="none")
        return axes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What all panels show: Unix time in s, and when alerts fired."""

    start: float
    end: float
    alerts: tuple[float, ...] = ()


def draw(shown: Sequence[Shown], path: Path, *, span: Span) -> None:
    """Write the picture of the dashboard as a PNG."""
    sheet = Sheet(WIDTH_PX, height_px(tuple(one.panel for one in shown)))
    for one in shown:
        bounds = bounds_px(one.panel.box, width_px=WIDTH_PX)
        if one.panel.kind == "row":
            sheet.text(bounds[0] + 4, bounds[1] + bounds[3] / 2, f"▾ {one.panel.title}", size=10, weight="bold")
            continue
        sheet.card(*bounds)
        sheet.text(bounds[0] + 8, bounds[1] + TITLE_PX / 2, one.panel.title, size=TITLE, weight="bold")
        if not any(answer.values for answer in one.answers):
            middle = bounds[0] + bounds[2] / 2, bounds[1] + bounds[3] / 2
            sheet.text(*middle, "No data", size=12, colour=FAINT, ha="center")
        elif one.panel.kind == "stat":
            _stat(sheet, bounds, one)
        else:
            _timeseries(sheet, bounds, one, span)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = FigureCanvasAgg(sheet.figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # A quarter of the bytes, and no colour that one takes for another.
    tones = picture.quantize(TONES, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    tones.save(path, optimize=True)


def _stat(sheet: Sheet, bounds: tuple[float, float, float, float], one: Shown) -> None:
    left, top, width, height = bounds
    curve = one.answers[0].curves[0]
    last = [value for _, value in curve.points if math.isfinite(value)][-1]
    colour = colour_of(one.panel, last)
    axes = sheet.axes(left + 1, top + 0.6 * height, width - 2, 0.38 * height)
    axes.axis("off")
    times, values = _drawn(curve, one.answers[0].step_s, spans_s=0)
    axes.fill_between(times, values, alpha=0.25, color=colour, linewidth=0)
    axes.plot(times, values, color=colour, linewidth=1)
    words = one.panel.words.get(f"{last:g}") or worded(last, one.panel.unit, decimals=one.panel.decimals)
    sheet.text(left + width / 2, top + 0.5 * height, words, size=NUMBER, colour=colour, ha="center")


def colour_of(panel: Panel, value: float) -> str:
    """By the panel's thresholds."""
    return COLOURS[[name for start, name in panel.steps if value >= start][-1]]


def curve_colour(panel: Panel, name: str, number: int) -> str:
    """Of the panel's ``number``-th curve: its own, or the next of Grafana's."""
    own = [colour for pattern, colour in panel.colours if re.search(pattern, name)]
    return COLOURS[own[-1]] if own else PALETTE[number % len(PALETTE)]


def _timeseries(sheet: Sheet, bounds: tuple[float, float, float, float], one: Shown, span: Span) -> None:
    left, top, width, height = bounds
    named = [(name, curve, answer.step_s) for answer in one.answers for name, curve in answer.named]
    lines = legend_lines([name for name, *_ in named], width)
    below = BOTTOM_PX + LEGEND_PX * min(len(lines), LEGEND_LINES) + 4
    axes = sheet.axes(left + LEFT_PX, top + TITLE_PX + 4, width - LEFT_PX - RIGHT_PX, height - TITLE_PX - 4 - below)
    _frame(axes, one.panel, span)
    colours = [curve_colour(one.panel, name, number) for number, (name, *_) in enumerate(named)]
    _curves(axes, one.panel, [(curve, step, colour) for (_, curve, step), colour in zip(named, colours, strict=True)])
    _limits(axes, one.panel)
    number = 0
    for row, names in enumerate(lines[:LEGEND_LINES]):
        x, y = left + 12, top + height - below + BOTTOM_PX + LEGEND_PX * (row + 0.5)
        for name in names:
            sheet.text(x, y, "━━", colour=colours[number])
            sheet.text(x + KEY_PX - 6, y, name, parse_math=False)
            x, number = x + KEY_PX + 10 + LETTER_PX * len(name), number + 1


def legend_lines(names: Sequence[str], width_px: float) -> list[list[str]]:
    """The names, in as many lines as they need."""
    lines: list[list[str]] = [[]]
    room = width_px - 24
    for name in names:
        needed = KEY_PX + 10 + LETTER_PX * len(name)
        if lines[-1] and needed > room:
            lines.append([])
            room = width_px - 24
        lines[-1].append(name)
        room -= needed
    return lines


def _frame(axes: Axes, panel: Panel, span: Span) -> None:
    axes.set_xlim(span.start, span.end)
    axes.tick_params(colors=FAINT, labelsize=SMALL, length=0, pad=3)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda at, _: f"{int(at - span.start) // 60}:{int(at - span.start) % 60:02d}")
    )
    ticks = [span.start + s for s in range(0, int(span.end - span.start) + 1, _tick_s(span.end - span.start))]
    axes.set_xticks(ticks)
    axes.yaxis.set_major_locator(Binary(5) if panel.unit == "bytes" else MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: worded(value, panel.unit, decimals=panel.decimals)))
    for at in span.alerts:
        axes.axvline(at, color=COLOURS["red"], linewidth=0.8, linestyle="--", alpha=0.8)


class Binary(MaxNLocator):
    """Ticks at whole multiples of a power of two."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        step = 2.0 ** math.ceil(math.log2(max(1.0, (vmax - vmin) / 5)))
        return [step * number for number in range(math.ceil(vmin / step), math.floor(vmax / step) + 1)]


def _tick_s(seconds: float) -> int:
    return next((step for step in (10, 15, 30, 60, 120, 300, 600, 1800) if seconds / step <= 7), 3600)


def _curves(axes: Axes, panel: Panel, curves: Sequence[tuple[Curve, int, str]]) -> None:
    below: dict[float, float] = {}
    for curve, step, colour in curves:
        times, values = _drawn(curve, step, spans_s=panel.spans_s)
        bases = [0.0] * len(times)
        if panel.is_stacked:
            bases = [below.get(at, 0.0) for at in times]
            values = [base + value for base, value in zip(bases, values, strict=True)]
            below |= {at: value for at, value in zip(times, values, strict=True) if not math.isnan(value)}
        axes.fill_between(times, bases, values, alpha=panel.fill, color=colour, linewidth=0)
        axes.plot(times, values, color=colour, linewidth=1)
        if panel.shows_points:
            alone = _alone(values)
            axes.plot([times[i] for i in alone], [values[i] for i in alone], "o", color=colour, markersize=2.5)


def _drawn(curve: Curve, step_s: int, *, spans_s: float) -> tuple[list[float], list[float]]:
    """Points with NaN wherever a line must not go over a gap."""
    times: list[float] = []
    values: list[float] = []
    for at, value in curve.points:
        if not math.isfinite(value):
            continue
        if times and at - times[-1] > max(1.5 * step_s, spans_s):
            times.append(times[-1] + step_s)
            values.append(math.nan)
        times.append(at)
        values.append(value)
    return times, values


def _alone(values: Sequence[float]) -> list[int]:
    """Places of values that no line joins to a neighbour."""
    padded = [math.nan, *values, math.nan]
    return [
        i
        for i, value in enumerate(values)
        if not math.isnan(value) and math.isnan(padded[i]) and math.isnan(padded[i + 2])
    ]


def _limits(axes: Axes, panel: Panel) -> None:
    low, high = axes.get_ylim()
    if panel.lowest is not None:
        low = panel.lowest
    if panel.highest is not None:
        high = panel.highest
    elif high <= low or (low == 0 and high < 1e-9) or _is_flat_zero(axes):
        # As Grafana does with a curve of nothing but zeros.
        high = low + 1
    axes.set_ylim(low, high)


def _is_flat_zero(axes: Axes) -> bool:
    drawn = [value for line in axes.get_lines() for value in line.get_ydata() if line.get_linestyle() == "-"]
    return all(math.isnan(value) or value == 0 for value in drawn)
