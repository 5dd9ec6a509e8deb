"""Bar charts as inline SVG, in the colours of the page's style sheet (classes ``c-NAME``); nothing but text goes in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

#: Of the drawing, in its own units; it scales with the page.
_WIDTH, _ROW, _LABEL, _VALUE = 480, 26, 170, 70
_HEIGHT, _FLOOR, _TOP = 190, 34, 22


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of a chart."""

    label: str
    value: int
    colour: str = "plain"  #: class of the page's style sheet


def plain(value: object) -> str:
    """Text for HTML and SVG: escaped, without characters that nobody sees or that turn the direction of writing."""
    return escape("".join(c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in str(value)), quote=True)


def bars(title: str, values: Sequence[Bar]) -> str:
    """Horizontal bars with their labels and values."""
    most = max((bar.value for bar in values), default=0) or 1
    room = _WIDTH - _LABEL - _VALUE
    rows = []
    for place, bar in enumerate(values):
        top = place * _ROW
        long = max(2.0, room * bar.value / most) if bar.value else 0
        rows.append(
            f'<text x="{_LABEL - 10}" y="{top + 17}" text-anchor="end">{plain(_short(bar.label))}</text>'
            f'<rect class="bar c-{bar.colour}" x="{_LABEL}" y="{top + 4}" width="{long:.1f}" height="18" rx="3"/>'
            f'<text class="value" x="{_LABEL + long + 8:.1f}" y="{top + 17}">{bar.value:,}</text>'
        )
    return _svg(title, values, height=max(1, len(values)) * _ROW, drawn="".join(rows))


def columns(title: str, values: Sequence[Bar]) -> str:
    """Upright columns, as a histogram has them."""
    most = max((bar.value for bar in values), default=0) or 1
    step = _WIDTH / max(1, len(values))
    room = _HEIGHT - _FLOOR - _TOP
    drawn = [f'<line class="axis" x1="0" y1="{_HEIGHT - _FLOOR}" x2="{_WIDTH}" y2="{_HEIGHT - _FLOOR}"/>']
    for place, bar in enumerate(values):
        tall = max(2.0, room * bar.value / most) if bar.value else 0
        left, middle = place * step, (place + 0.5) * step
        top = _HEIGHT - _FLOOR - tall
        drawn.append(
            f'<rect class="bar c-{bar.colour}" x="{left + 3:.1f}" y="{top:.1f}" width="{step - 6:.1f}" '
            f'height="{tall:.1f}" rx="3"/>'
            f'<text x="{middle:.1f}" y="{_HEIGHT - _FLOOR + 18}" text-anchor="middle">{plain(bar.label)}</text>'
        )
        if bar.value:
            drawn.append(
                f'<text class="value" x="{middle:.1f}" y="{top - 6:.1f}" text-anchor="middle">{bar.value:,}</text>'
            )
    return _svg(title, values, height=_HEIGHT, drawn="".join(drawn))


def _svg(title: str, values: Sequence[Bar], *, height: int, drawn: str) -> str:
    told = "; ".join(f"{bar.label}: {bar.value}" for bar in values)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{plain(f"{title}. {told}")}">{drawn}</svg>'


def _short(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"
