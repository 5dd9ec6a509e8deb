"""From nothing to a file: a process is started, reads its networks, restores one aligned face and writes it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

from photomend.bench import pictures
from photomend.bench.contest import Contest, Ran, RowPlan, Runner, Workshop, duel


def _set_up(place: Workshop) -> None:
    from photomend.bench import seeded

    seeded.make(place)
    pictures.file(place, pictures.ALIGNED)


def _upstream(place: Workshop) -> Runner:
    photo = pictures.file(place, pictures.ALIGNED)
    return _started([sys.executable, "-m", "photomend.bench.upstream", str(place.folder), str(photo)])


def _ours(place: Workshop) -> Runner:
    from photomend.bench import seeded

    photo, out = pictures.file(place, pictures.ALIGNED), place.folder / "cold.jpg"
    words = ["restore", str(photo), "-o", str(out), "--overwrite", "--aligned", "--background", "none"]
    words += ["--model", seeded.RESTORER, "--weights-dir", str(place.seeded)]
    return _started([sys.executable, "-m", "photomend", *words])


def _started(command: Sequence[str]) -> Runner:
    def run(case: str) -> Ran:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return Ran(peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)

    return run


CONTESTS = (
    Contest(
        name="cold",
        set_up=_set_up,
        sides=duel(upstream=_upstream, ours=_ours),
        about_s=100,
        rows=(
            RowPlan(
                name="cold-start",
                note="a process from its start to one aligned face on the disk; `photomend restore` beside a script of"
                " three lines around GFPGANer",
            ),
        ),
    ),
)
