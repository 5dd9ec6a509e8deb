"""From runs to a row of ``latest.json``: seconds, ratios, memory, and how the pictures differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from photomend.bench.contest import UPSTREAM, UPSTREAM_TUNED, Contest, Promise, RowPlan
from photomend.bench.turns import Measured

#: What every row of ``latest.json`` has, measured or not.
BLANK: Mapping[str, Any] = dict.fromkeys(
    ("upstream_s", "upstream_tuned_s", "ours_s", "ratio", "ratio_tuned", "max_abs_diff", "psnr_db", "peak_mb", "failed")
)


def row_of(plan: RowPlan, contest: Contest, measured: Measured) -> dict[str, Any]:
    """The row's figures; what was not measured is None.

    Seconds are sums over the cases of each one's median. Ratios are those of runs of the same round and case.
    """
    cases = [case for case in (plan.cases or contest.cases) if measured.seconds(plan.ours, case)]
    row: dict[str, Any] = {"name": plan.name, **BLANK}
    for name, side in (("upstream_s", UPSTREAM), ("upstream_tuned_s", UPSTREAM_TUNED), ("ours_s", plan.ours)):
        row[name] = _sum_of(measured, side, cases)
    row |= _spread("ratio", _ratios(measured, UPSTREAM, plan.ours, cases))
    row |= _spread("ratio_tuned", _ratios(measured, UPSTREAM_TUNED, plan.ours, cases))
    row |= _difference(measured, plan.ours, UPSTREAM, cases)
    if plan.like is not None:
        row |= {f"own_{name}": value for name, value in _difference(measured, plan.ours, plan.like, cases).items()}
    row |= _memory(measured, plan.ours, cases, "") | _memory(measured, UPSTREAM, cases, "upstream_")
    row["stages"] = _stages(measured, plan.ours, cases)
    row["upstream_stages"] = _stages(measured, UPSTREAM, cases)
    row["upstream_tuned_stages"] = _stages(measured, UPSTREAM_TUNED, cases)
    row["runs"] = sum(len(measured.seconds(plan.ours, case)) for case in cases)
    row["cases"] = list(cases)
    row["how"] = next((run["how"] for case in cases for run in measured.rounds.get((plan.ours, case), ())), {})
    return row | {"note": plan.note} | judged(plan.promises, row)


def judged(promises: Sequence[Promise], figures: Mapping[str, Any]) -> dict[str, Any]:
    """What was promised, and whether it is kept: None where something was not measured and nothing is broken."""
    verdicts = {str(promise): promise.is_kept(figures) for promise in promises}
    found = set(verdicts.values())
    met = None if not verdicts else False if False in found else None if None in found else True
    return {"target": ", ".join(verdicts), "met": met, "missed": [name for name, kept in verdicts.items() if not kept]}


def _sum_of(measured: Measured, side: str, cases: Iterable[str]) -> float | None:
    taken = [measured.seconds(side, case) for case in cases]
    return round(sum(median(one) for one in taken), 4) if taken and all(taken) else None


def _ratios(measured: Measured, side: str, ours: str, cases: Iterable[str]) -> list[float]:
    pairs = [zip(measured.seconds(side, case), measured.seconds(ours, case), strict=False) for case in cases]
    return [theirs / mine for pair in pairs for theirs, mine in pair]


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {name: None}
    ends = {f"{name}_min": round(min(values), 3), f"{name}_max": round(max(values), 3)}
    return {name: round(median(values), 3)} | ends


def _memory(measured: Measured, side: str, cases: Sequence[str], prefix: str) -> dict[str, Any]:
    peaks = [run["peak_mb"] for case in cases for run in measured.rounds.get((side, case), ())]
    extra = [measured.extra_mb[side, case] for case in cases if (side, case) in measured.extra_mb]
    return {
        f"{prefix}peak_mb": round(max(peaks)) if peaks else None,
        f"{prefix}extra_mb": round(max(extra), 1) if extra else None,
    }


def _stages(measured: Measured, side: str, cases: Sequence[str]) -> dict[str, float]:
    """Seconds of each stage, summed over the cases; of each case the median."""
    found: dict[str, float] = {}
    for case in cases:
        runs = measured.rounds.get((side, case), ())
        for stage in {stage: None for run in runs for stage in run["stages"]}:
            taken = median(run["stages"].get(stage, 0.0) for run in runs)
            found[stage] = round(found.get(stage, 0.0) + taken, 4)
    return found


def _difference(measured: Measured, ours: str, other: str, cases: Sequence[str]) -> dict[str, Any]:
    """The largest difference of a value (of 255) and the worst PSNR (dB) over the cases."""
    pairs = [(measured.outputs.get((ours, case)), measured.outputs.get((other, case))) for case in cases]
    found = [compared(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
    if not found:
        return {"max_abs_diff": None, "psnr_db": None}
    return {"max_abs_diff": max(diff for diff, _ in found), "psnr_db": min(psnr for _, psnr in found)}


def compared(mine: Path, theirs: Path) -> tuple[float, float]:
    """Largest difference and PSNR (dB, 99 for equal ones) of two arrays with values of 0 to 255."""
    import numpy as np

    one, other = (np.load(path, mmap_mode="r") for path in (mine, theirs))
    if one.shape != other.shape:
        return 255.0, 0.0
    largest, squares = 0.0, 0.0
    # In bands: a 24-megapixel picture as floats takes a quarter of a gigabyte.
    for at in range(0, one.shape[0], 256):
        gap = one[at : at + 256].astype(np.float32) - other[at : at + 256]
        largest = max(largest, float(np.abs(gap).max(initial=0.0)))
        squares += float(np.square(gap, dtype=np.float64).sum())
    error = squares / max(1, one.size)
    return round(largest, 2), 99.0 if error == 0 else round(min(99.0, 10 * float(np.log10(255.0**2 / error))), 2)
