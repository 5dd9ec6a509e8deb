"""The demo's last words: faces, timings, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.paces import DEVICE_TIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from photomend.demo.run import Outcome

#: The life of a job, for reading from top to bottom.
_ORDER = (
    "queue", "fetch", "decode", "detect", "align", "restore", "parse", "upsample", "blend", "encode", "store",
)  # fmt: skip


def show(console: Console, outcome: Outcome, *, total_s: float) -> None:
    """Print what was found, how long it took and where the files are."""
    job = outcome.job
    console.print()
    console.print(_faces(job.faces))
    console.print(_timings(job.raw["metrics"]))
    for notice in job.warnings:
        console.print(f"[yellow]Note:[/] {notice['detail']}", highlight=False, soft_wrap=True)
    console.print()
    for path, words in (
        (outcome.input, "the photo that was submitted"),
        (outcome.restored, "the result"),
        (outcome.comparison, "before | after"),
        (outcome.provenance, "what was done to which pixels, by which weights"),
    ):
        console.print(f"  {path!s:<24} {words}", highlight=False, soft_wrap=True)
    console.print(f"\n[bold green]Done in {total_s:.1f} s.[/] Everything that was started has been stopped.")


def _faces(faces: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=_count(faces), title_justify="left", box=None)
    for name in ("", "at x, y", "size", "score", "", ""):
        table.add_column(name, justify="right")
    for face in faces:
        x, y = face["box"][:2]
        table.add_row(
            str(face["index"]),
            f"{x:.0f}, {y:.0f}",
            f"{face['size_px']:.0f} px",
            f"{face['score']:.2f}",
            face["status"],
            face["reason"] or "",
        )
    return table


def _count(faces: Sequence[Mapping[str, Any]]) -> str:
    """How many faces there are; what the detector proposed and the pipeline rejected is none of them."""
    rejected = sum(face["status"] == "rejected" for face in faces)
    found = len(faces) - rejected
    words = f"{found} face{'' if found == 1 else 's'} found"
    return f"{words}, {rejected} more rejected" if rejected else words


def _timings(metrics: Mapping[str, float]) -> Table:
    from rich.table import Table

    table = Table(title="Time per stage", title_justify="left", box=None, show_header=False)
    stages = [name.removesuffix("_s") for name in metrics if name.endswith("_s") and name not in DEVICE_TIMES]
    for stage in sorted(stages, key=lambda stage: _ORDER.index(stage) if stage in _ORDER else len(_ORDER)):
        table.add_row(stage, f"{metrics[f'{stage}_s']:.2f} s")
    return table
