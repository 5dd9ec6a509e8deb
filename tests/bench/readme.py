"""The README's figures, as last measured; ``python -m tests.bench.readme`` (``make bench-readme``)."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from photomend.bench.chart import chart
from photomend.bench.program import known_rows
from photomend.bench.report import markdown
from tests.bench.__main__ import modules

ROOT = Path(__file__).parents[2]
README, LATEST = ROOT / "README.md", ROOT / "build" / "bench" / "latest.json"
#: The chart that the README shows.
CHART = Path("tests/bench/performance.svg")


def with_figures(text: str, figures: str, *, name: str = "bench") -> str:
    """The README's text with what stands between ``<!-- name -->`` and ``<!-- /name -->`` made anew."""
    text, found = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda match: f"{match[1]}{figures}\n{match[2]}",
        text,
        flags=re.DOTALL,
    )
    assert found == 1, f"README.md must have one table {name}"
    return text


def write(results: Mapping[str, Any], *, root: Path, known: Sequence[str]) -> None:
    """The table and, where anything was compared with upstream, the chart beside it."""
    figures = markdown(results, known=known)
    if any(row["ratio"] for row in results["rows"]):
        (root / CHART).write_text(chart(results["rows"], machine=results))
        figures += f"\n\n![How many times as fast as upstream each row is]({CHART})"
    readme = root / README.name
    readme.write_text(with_figures(readme.read_text(), figures))


if __name__ == "__main__":
    if not LATEST.is_file():
        sys.exit(f"{LATEST} is not there: make bench makes it")
    write(json.loads(LATEST.read_text()), root=ROOT, known=known_rows(modules()))
    sys.stdout.write(f"README.md and {CHART} have the figures of {LATEST}\n")
