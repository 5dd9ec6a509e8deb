"""What ``photomend detect`` prints on standard output: a table of each picture's faces, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from photomend import outcomes as told
from photomend.outcomes import Failed, Finished

if TYPE_CHECKING:
    from pipeline.types import FaceRecord

#: What would become of a face of each status, and how that is shown.
_FATES = {"found": ("restore", "green"), "skipped": ("leave", "yellow"), "rejected": ("no face", "dim")}
#: Width of the tables where they go to no terminal: nothing is cut off in a file or a pipe.
_PIPE_WIDTH = 240


def show(outcomes: Sequence[Finished | Failed], *, as_json: bool) -> None:
    """Print everything that was found; failures have been told on standard error."""
    if as_json:
        sys.stdout.write(told.as_json(outcomes) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    for one in outcomes:
        if isinstance(one, Finished):
            console.print(_heading(one), soft_wrap=True)
            if one.report.faces:
                console.print(_table(one.report.faces))
            for path in one.files.values():
                console.print(Text(f"  {path}", style="green"), soft_wrap=True)


def _heading(one: Finished) -> Text:
    faces = [face for face in one.report.faces if face.status != "rejected"]
    count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}"
    return Text(f"{one.source.path}: {count}, {one.report.width:,} x {one.report.height:,} px", style="bold")


def _table(faces: Sequence[FaceRecord]) -> Table:
    table = Table("id", "box x0,y0,x1,y1", "px", "score", "yaw", "would", "because", box=None, padding=(0, 2, 0, 0))
    # Candidates that are no faces come last: they are there to explain, not to be chosen.
    for face in sorted(faces, key=lambda face: face.status == "rejected"):
        fate, style = _FATES[face.status]
        box = ",".join(f"{v:.0f}" for v in face.box)
        yaw = "" if face.yaw_deg is None else f"{face.yaw_deg:+.0f}°"
        why = "; ".join([*([face.reason] if face.reason else []), *(f"look: {flag.reason}" for flag in face.review)])
        cells = (face.id, box, f"{face.size_px:.0f}", f"{face.score:.2f}", yaw, fate, why)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table
