"""What a dry run of a batch has found, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def estimate_view(estimate: Mapping[str, Any]) -> RenderableType:
    """Counts, sizes, time and cost, then what would get no result, then what to know of it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    for name, told in _facts(estimate):
        facts.add_row(name, Text(told))
    parts: list[RenderableType] = [facts]
    if estimate["refused"]:
        parts += [Text(), Text("would get no result", style="bold"), *_refused(estimate)]
    parts += [Text(note, style="yellow") for note in estimate["notes"]]
    return Group(*parts)


def progress_line(estimate: Mapping[str, Any] | None) -> str:
    """How far it is, in a few words."""
    if estimate is None:
        return "waiting for the keeper"
    if not estimate["sample"]:
        return f"{estimate['lines']:,} lines read"
    return f"{estimate['lines']:,} lines, {estimate['looked']} of {estimate['sample']} sources looked at"


def _facts(estimate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    repeated = f", {estimate['repeated']:,} of them twice" if estimate["repeated"] else ""
    yield "lines", f"{estimate['lines']:,}{repeated}"
    there = f", {estimate['there']:,} of these done already" if estimate["there"] else ""
    yield "sample", f"{estimate['looked']:,} sources{there}"
    yield "to do", f"{_about(estimate)}{estimate['to_do']:,} pictures"
    if estimate["formats"]:
        yield "formats", ", ".join(f"{kind} {count:,}" for kind, count in estimate["formats"].items())
    if (size := estimate["megapixels"]) is not None:
        span = f"{size['smallest']:.1f} to {size['largest']:.1f} each"
        yield "megapixels", f"{_about(estimate)}{size['total']:,.1f}{_margin(size, 1, digits=1)}, {span}"
    if (weight := estimate["bytes"]) is not None:
        yield "to read", f"{_about(estimate)}{weight['total'] / 1e6:,.1f} MB{_margin(weight, 1e6, digits=1)}"
    if estimate["gpu_s"] is not None:
        jobs = estimate["measured_jobs"]
        by = f"by {jobs:,} {'job' if jobs == 1 else 'jobs'} that were measured"
        yield "device time", f"about {estimate['gpu_s'] / 3600:,.2f} hours, {by}"
    if (cost := estimate.get("cost")) is not None:
        yield "cost", f"about {cost['amount']:,.2f} {cost['currency']}"


def _about(estimate: Mapping[str, Any]) -> str:
    return "about " if estimate["looked"] < estimate["lines"] - estimate["repeated"] else ""


def _margin(quantity: Mapping[str, Any], unit: float, *, digits: int) -> str:
    return f" ± {quantity['margin'] / unit:,.{digits}f}" if quantity["margin"] else ""


def _refused(estimate: Mapping[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    for one in estimate["refused"]:
        of = f"{one['count']:,} lines" if one["scope"] == "lines" else f"{one['count']:,} of the sample"
        yield Text.assemble("  ", (one["code"], "red"), f"  {of}, such as")
        for example in one["examples"]:
            yield Text.assemble(f"    {example['number']}: {example['source']}  ", (example["detail"], "dim"))
