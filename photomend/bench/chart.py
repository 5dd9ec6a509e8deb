"""The ratios as a bar chart, in SVG of our own: one picture beside ``latest.json`` needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

#: Sizes in px.
WIDTH, ROW, LEFT, RIGHT, TOP = 860, 46, 170, 90, 64
#: Bars against upstream with the default and with the tuned allocator.
BARS = (("ratio", "#2b6cb0", "default allocator"), ("ratio_tuned", "#90cdf4", "tuned allocator"))


def chart(rows: Sequence[Mapping[str, Any]], *, machine: Mapping[str, Any]) -> str:
    """How many times faster than upstream each row is, on a logarithmic scale."""
    shown = [row for row in rows if row.get("ratio")]
    longest = max([2.0, *(row[name] for row in shown for name, _, _ in BARS if row.get(name))])
    height = TOP + ROW * len(shown) + 30
    about = f"{machine['machine']['cpu']}, {machine['machine']['cores']} cores, {machine['date'][:10]}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
        ' font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="16">times as fast as upstream</text><text x="12" y="42" fill="#555">'
        f"{escape(about)}</text>",
    ]
    for at, (_, colour, label) in enumerate(BARS):
        x = 420 + 170 * at
        parts.append(f'<rect x="{x}" y="11" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="22">{label}</text>')
    for at, row in enumerate(shown):
        parts += _row(row, TOP + ROW * at, longest)
    x = LEFT
    parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - 22}" stroke="#333"/>')
    return "\n".join([*parts, f'<text x="{x - 4}" y="{height - 8}">1 x</text>', "</svg>", ""])


def _row(row: Mapping[str, Any], top: int, longest: float) -> list[str]:
    parts = [f'<text x="{LEFT - 10}" y="{top + 20}" text-anchor="end">{escape(str(row["name"]))}</text>']
    for at, (name, colour, _) in enumerate(BARS):
        value = row.get(name)
        if not value:
            continue
        y, width = top + 16 * at, _width(value, longest)
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="14" fill="{colour}"/>')
        low, high = (row.get(f"{name}_{end}", value) for end in ("min", "max"))
        x0, x1, middle = LEFT + _width(low, longest), LEFT + _width(high, longest), y + 7
        parts.append(f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{middle}" y2="{middle}" stroke="#222"/>')
        parts.append(f'<text x="{max(x1, LEFT + width) + 6:.1f}" y="{y + 12}">{value:.3g} x</text>')
    return parts


def _width(value: float, longest: float) -> float:
    """What is slower than upstream has no bar."""
    return max(0.0, math.log(value) / math.log(longest)) * (WIDTH - LEFT - RIGHT)
