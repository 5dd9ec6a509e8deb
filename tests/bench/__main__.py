"""``python -m tests.bench`` (``make bench``): the package's rows and those of ``tests/bench/rows``, beside upstream."""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
from pathlib import Path

import typer

from photomend.bench.contest import Workshop
from photomend.bench.program import MODULES, Program
from photomend.commands.bench import say, show
from tests.bench import rows
from worker.processes import available_cores

#: ``make bench`` ends within this, whatever the machine does (minutes).
MINUTES = 20.0


def modules() -> tuple[str, ...]:
    """All modules of rows: the quick ones of this folder first."""
    own = [f"{rows.__name__}.{found.name}" for found in pkgutil.iter_modules(rows.__path__)]
    return (*sorted(own), *MODULES)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure photomend beside the upstream pipeline")
    parser.add_argument("--rows", default="", help="only these, separated by commas")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--no-upstream", dest="upstream", action="store_false")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    told = parser.parse_args()
    shared = Path(os.environ["SHARED_DIR"]).resolve() if os.environ.get("SHARED_DIR") else None
    place = Workshop(
        folder=told.folder.resolve(),
        photos=shared / "photos" if shared else None,
        weights=shared / "weights" if shared else None,
        is_full=told.full,
    )
    program = Program(
        place=place,
        modules=modules(),
        rows=tuple(name.strip() for name in told.rows.split(",") if name.strip()),
        repeats=told.repeats,
        minutes=None if told.full else told.minutes,
        cores=available_cores(),
        has_upstream=told.upstream,
        say=say,
    )
    try:
        return show(program)
    except typer.BadParameter as error:
        parser.error(error.message)


if __name__ == "__main__":
    sys.exit(main())
