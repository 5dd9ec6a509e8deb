"""The benchmark's figures for people: a table in the terminal, and the README's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

#: Rows that tell nothing of upstream have figures of their own, which are shown instead (in this order, so many).
OWN_SHOWN = 4


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Each row with its ratios (median, from least to most), and whether its target is met."""
    found = Table(title="times as fast as upstream", title_justify="left")
    for heading in ("row", "upstream", "tuned", "ours", "ratio", "ratio, tuned", "peak MB", "difference", "target"):
        found.add_column(heading, justify="left" if heading in {"row", "target"} else "right")
    for row in rows:
        found.add_row(
            str(row["name"]),
            _seconds(row["upstream_s"]),
            _seconds(row["upstream_tuned_s"]),
            _seconds(row["ours_s"]),
            _ratio(row, "ratio"),
            _ratio(row, "ratio_tuned"),
            _number(row["peak_mb"]),
            difference(row),
            verdict(row),
        )
    return found


def stages(row: Mapping[str, Any]) -> str:
    """The row's stages in a line, the longest first: ours, and upstream's; and how our networks ran."""
    sides = (("ours", "stages"), ("upstream", "upstream_stages"), ("upstream, tuned", "upstream_tuned_stages"))
    told = []
    for side, name in sides:
        taken = sorted((row.get(name) or {}).items(), key=lambda item: -item[1])
        if taken:
            told.append(f"{side}: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in taken))
    how = ", ".join(f"{network} by {way}" for network, way in (row.get("how") or {}).items())
    return "\n".join([*told, how] if how else told)


def difference(row: Mapping[str, Any]) -> str:
    """How the picture differs from upstream's, or what a row measured in its own way."""
    if row["max_abs_diff"] is not None:
        told = f"{row['max_abs_diff']:.0f}/255, {row['psnr_db']:.1f} dB"
        if row.get("own_psnr_db") is not None:
            told += f"; own {row['own_max_abs_diff']:.0f}/255, {row['own_psnr_db']:.1f} dB"
        return told
    if row["ratio"] is not None:
        return ""
    own = [(name, value) for name, value in row.items() if _is_own(name, value)]
    return ", ".join(f"{name} {value:g}" for name, value in own[:OWN_SHOWN])


def verdict(row: Mapping[str, Any]) -> str:
    """Whether the target is met; else what was found where, or why nothing was."""
    if row.get("failed"):
        return f"FAILED: {row['failed'].splitlines()[-1].strip()}"
    if not row["target"]:
        return "-"
    if row["met"]:
        return f"met: {row['target']}"
    reached = ", ".join(f"{name.split()[0]} {row.get(name.split()[0], 'not measured')}" for name in row["missed"])
    return f"{'NOT met' if row['met'] is False else 'not judged'}: {', '.join(row['missed'])} ({reached})"


def markdown(results: Mapping[str, Any], *, known: Sequence[str] = ()) -> str:
    """The README's table, from ``latest.json``; ``known`` rows that are not in it are named."""
    machine, versions = results["machine"], results["versions"]
    about = ", ".join(f"{name} {versions[name]}" for name in ("torch", "openvino", "gfpgan") if name in versions)
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"
        f"{', ' + machine['gpu'] if machine.get('gpu') else ''}{_instructions(machine)}, {machine['system']};"
        f" Python {versions['python']}, {about}; {results['date'][:10]}, commit {results['commit']},"
        f" {results['seconds'] / 60:.0f} minutes.",
        "",
        "| row | upstream s | tuned s | ours s | times as fast (min-max) | tuned (min-max) | peak MB, upstream's "
        "| difference | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        cells = [f"`{row['name']}`", *(_seconds(row[name]) for name in ("upstream_s", "upstream_tuned_s", "ours_s"))]
        cells += [_ratio(row, "ratio"), _ratio(row, "ratio_tuned"), _peaks(row), difference(row)]
        # Its reason names folders of the machine that it ran on.
        cells.append("failed" if row.get("failed") else verdict(row))
        lines.append("| " + " | ".join(cells) + " |")
    names = {row["name"] for row in results["rows"]}
    if absent := [f"`{name}`" for name in known if name not in names]:
        lines += ["", f"Not measured: {', '.join(absent)}."]
    return "\n".join(lines)


def _instructions(machine: Mapping[str, Any]) -> str:
    found = machine.get("instructions")
    return f" ({', '.join(found)})" if found else ""


def _peaks(row: Mapping[str, Any]) -> str:
    ours, theirs = _number(row["peak_mb"]), _number(row.get("upstream_peak_mb"))
    return f"{ours}, {theirs}" if theirs else ours


def _is_own(name: str, value: Any) -> bool:
    usual = {"upstream_s", "upstream_tuned_s", "ours_s", "ratio", "ratio_tuned", "peak_mb"}
    return isinstance(value, int | float) and not isinstance(value, bool) and name not in usual


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _ratio(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    return f"{value:.3g} ({row.get(f'{name}_min', value):.3g}-{row.get(f'{name}_max', value):.3g})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
