"""Checks as an operator reads them: one line each with what to do, or JSON; and whether all is well."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from jobs.checks import Check

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def show(checks: Iterable[Check], *, as_json: bool) -> bool:
    """Print each as it comes, or all as one JSON object at the end; whether none failed."""
    console, busy = Console(highlight=False), Console(stderr=True)
    found: list[Check] = []
    with busy.status("Looking"):
        for check in checks:
            found.append(check)
            if not as_json:
                console.print(_line(check), soft_wrap=True)
    counts = Counter(str(check.verdict) for check in found)
    is_well = not counts["failed"]
    if as_json:
        sys.stdout.write(json.dumps({"ok": is_well, "checks": [check.words() for check in found]}, indent=2) + "\n")
    else:
        console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return is_well


def _line(check: Check) -> Text:
    text = Text.assemble((f"{check.verdict:<8}", _COLOURS[check.verdict]), f" {check.name}: {check.said}")
    if check.advice and check.verdict != "ok":
        text.append(f"\n         → {check.advice}", style="cyan")
    return text
