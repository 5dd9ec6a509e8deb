"""``photomend bench``: what this machine does, by itself or beside the upstream pipeline."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from photomend.bench.program import Program

#: Of the table in a pipe or a file (columns), where rich would take 80.
PLAIN_WIDTH = 180

Rows = Annotated[str | None, typer.Option("--rows", help="Only these rows, separated by commas.")]


def bench(
    *,
    rows: Rows = None,
    upstream: Annotated[
        bool, typer.Option("--upstream/--no-upstream", help="Run the gfpgan package's pipeline in turn with ours.")
    ] = False,
    repeats: Annotated[int | None, typer.Option(min=1, max=100, help="Rounds of each row.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Begin no further rounds after these.")] = 20.0,
    full: Annotated[bool, typer.Option("--full", help="More repeats and cases.")] = False,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of whole_*.jpg or .png to restore; without it, made ones.")
    ] = None,
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder of released weights, whose detector is used where it is there.")
    ] = None,
    folder: Annotated[Path, typer.Option("-o", "--output", help="Where results and seeded networks go.")] = Path(
        "build/bench"
    ),
) -> None:
    """Measure how fast this machine restores, with full-size networks of seeded weights.

    Times do not depend on the weights' values, so nothing need be fetched. Results: latest.json and latest.svg.

    Example: photomend bench --upstream --rows exact,auto
    """
    from photomend.bench.contest import Workshop
    from photomend.bench.program import Program, has_upstream
    from worker.processes import available_cores
    from worker.settings import WorkerSettings

    if upstream and not has_upstream():
        raise typer.BadParameter("the upstream pipeline is not installed: pip install gfpgan", param_hint="--upstream")
    place = Workshop(
        folder=folder.resolve(), photos=photos, weights=weights_dir or WorkerSettings().weights_dir, is_full=full
    )
    program = Program(
        place=place,
        rows=tuple(name.strip() for name in (rows or "").split(",") if name.strip()),
        repeats=repeats,
        minutes=None if full else minutes,
        cores=available_cores(),
        has_upstream=upstream,
        say=say,
    )
    raise typer.Exit(show(program))


def say(words: str) -> None:
    """Progress, which is not for whoever reads the table from a pipe."""
    from rich.console import Console

    Console(stderr=True, log_path=False, highlight=False).log(words, style="dim")


def show(program: Program) -> int:
    """Measure and tell; the exit status."""
    from rich.console import Console

    from photomend.bench import report
    from photomend.bench.program import known_rows, run

    known = known_rows(program.modules)
    if unknown := [name for name in program.rows if name not in known]:
        raise typer.BadParameter(f"no row {', '.join(unknown)}; there are {', '.join(known)}", param_hint="--rows")
    folder = program.place.folder
    results = run(dataclasses.replace(program, keep=lambda so_far: so_far.write(folder)))
    figures, picture = results.write(folder)
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    for row in results.rows:
        if told := report.stages(row):
            console.print(f"[bold]{row['name']}[/bold]\n{told}", highlight=False)
    console.print(report.table(results.rows))
    for row in results.rows:
        if row["note"]:
            console.print(f"{row['name']}: {row['note']}", highlight=False)
    for fault in results.faults:
        console.print(f"failed: {fault}", style="red", highlight=False, markup=False)
    ended = "interrupted; what was done is kept" if results.is_interrupted else "done"
    console.print(f"{ended} after {results.seconds / 60:.1f} min: {figures}, {picture}", highlight=False)
    return exits.FAILED if results.faults or results.is_interrupted else 0
