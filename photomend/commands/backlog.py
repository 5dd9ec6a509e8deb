"""``photomend backlog``: what waits, how much work that is, and how many workers would clear it. For operators."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend.commands.operating import opened_store

if TYPE_CHECKING:
    from rich.console import Group

    from jobs.figures import Figures, Share

#: How often ``--watch`` looks (seconds).
LOOK_EVERY_S = 2.0
#: In how many minutes a backlog should be gone, where nobody says another number.
CLEAR_IN_MIN = 10.0
#: Tenants in the table, those with the most waiting jobs first.
MOST_TENANTS = 20


def backlog(
    clear_in: Annotated[
        float, typer.Option("--clear-in", min=0.1, metavar="MINUTES", help="How soon it should all be done.")
    ] = CLEAR_IN_MIN,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output; with --watch one object a line.")
    ] = False,
) -> None:
    """Print what waits and runs, the work in it as seconds of one worker, and how many workers would do it in time.

    The seconds are what workers measured of the last jobs. Nobody knows a waiting picture's faces, so each counts as
    the mean, and its megapixels by its bytes. The same figure is photomend_backlog_work_seconds at /metrics.

    Examples:
      photomend backlog

      photomend backlog --clear-in 2 --watch

      photomend backlog --json | jq .workers_needed
    """
    with opened_store() as (store, console):
        if watch and not as_json:
            from rich.live import Live

            with Live(console=console, auto_refresh=False) as live:
                while True:
                    live.update(_table(store.figures(), store.shares(limit=MOST_TENANTS), clear_in), refresh=True)
                    time.sleep(LOOK_EVERY_S)
        while True:
            figures, shares = store.figures(), store.shares(limit=MOST_TENANTS)
            if as_json:
                _write(_words(figures, shares, clear_in), indent=None if watch else 2)
            else:
                console.print(_table(figures, shares, clear_in))
            if not watch:
                return
            time.sleep(LOOK_EVERY_S)


def workers_needed(work_s: float, *, clear_in_min: float) -> int:
    """How many workers, of the mean speed, do so much work in time."""
    return math.ceil(work_s / (60 * clear_in_min))


def _words(figures: Figures, shares: tuple[Share, ...], clear_in: float) -> dict[str, Any]:
    import dataclasses

    return {
        "work_s": round(figures.work_s, 3),
        "is_measured": figures.is_measured,
        "effort": dataclasses.asdict(figures.effort),
        "unfinished_jobs": figures.unfinished,
        "items_to_come": figures.to_come,
        "waiting": dict(figures.waiting),
        "sent": dict(figures.sent),
        "running": dict(figures.running),
        "oldest_waiting_s": dict(figures.oldest_s),
        "tenants": [dataclasses.asdict(share) for share in shares],
        "workers": figures.workers,
        "slots": {"free": figures.free, "total": figures.total},
        "clear_in_min": clear_in,
        "workers_needed": workers_needed(figures.work_s, clear_in_min=clear_in),
    }


def _table(figures: Figures, shares: tuple[Share, ...], clear_in: float) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lanes = Table("priority", box=None, pad_edge=False)
    for column in ("waiting", "on their way", "running", "oldest"):
        lanes.add_column(column, justify="right")
    for lane, waiting in figures.waiting.items():
        told = (waiting, figures.sent.get(lane, 0), figures.running.get(lane, 0))
        lanes.add_row(lane, *(f"{count:,}" for count in told), _time(figures.oldest_s[lane]))
    parts: list[Table | Text] = [lanes]
    if shares:
        tenants = Table("tenant", box=None, pad_edge=False)
        for column in ("interactive", "batch", "suspect"):
            tenants.add_column(column, justify="right")
        for share in shares:
            tenants.add_row(Text(share.tenant), *(f"{share.waiting[lane]:,}" for lane in figures.waiting))
        parts += [Text(), tenants]
    return Group(*parts, Text(), Text(_sentences(figures, clear_in)))


def _sentences(figures: Figures, clear_in: float) -> str:
    effort, needed = figures.effort, workers_needed(figures.work_s, clear_in_min=clear_in)
    measured = (
        f"a job takes {effort.job_s:.3g} s of a worker, {effort.megapixel_s:.3g} s a megapixel and "
        f"{effort.face_s:.3g} s for each of its {effort.faces:.1f} faces"
        if figures.is_measured
        else "no job was measured yet: a second a job and a megapixel are assumed"
    )
    to_come = f"batches  {figures.to_come:,} items are to come that are no jobs yet\n" if figures.to_come else ""
    return (
        f"{to_come}work     {_time(figures.work_s)} of one worker ({measured})\n"
        f"workers  {figures.workers} take jobs, {figures.free} of {figures.total} slots are free\n"
        f"needed   {needed} to have all done in {clear_in:g} min"
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def _write(words: object, *, indent: int | None) -> None:
    sys.stdout.write(json.dumps(words, indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()
