"""Values as Grafana words them, for the units that the dashboard has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.bench.dashboard.grafana import DashboardBroken

_TIME = ((86400.0, "day"), (3600.0, "hour"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_SUFFIXES = {"none": "", "reqps": " req/s", "ops": " ops/s"}


def worded(value: float, unit: str, *, decimals: int | None = None) -> str:
    """A value with its unit.

    Raises:
        DashboardBroken: the unit is not known here.
    """
    if math.isnan(value):
        return "NaN"
    if unit == "s":
        return _scaled(value, _TIME, decimals)
    if unit == "bytes":
        return _scaled(value, _BYTES, decimals)
    if unit == "percentunit":
        return f"{_number(100 * value, decimals)}%"
    if unit.startswith("suffix:"):
        return f"{_number(value, decimals)} {unit.removeprefix('suffix:').strip()}"
    if unit not in _SUFFIXES:
        raise DashboardBroken(f"the unit {unit} is not known here")
    return _number(value, decimals) + _SUFFIXES[unit]


def _scaled(value: float, scales: Sequence[tuple[float, str]], decimals: int | None) -> str:
    one, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    if value == 0:
        return f"0 {'s' if scales is _TIME else 'B'}"
    return f"{_number(value / one, decimals)} {name}"


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
