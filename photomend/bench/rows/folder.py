"""A folder of small photos by one ``photomend restore``: what memory it holds after the tenth and the hundredth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from photomend.bench import pictures
from photomend.bench.child import memory_mb
from photomend.bench.contest import Trial, Workshop, at_most

#: After how many photos memory is looked at. There is one more than that, so that the process still lives then.
LOOKS = (1, 10, 25, 50, 75, 100)
COUNT = LOOKS[-1] + 1
#: Long sides of the photos (px), in turn, so that the first ten have every kind and size that the others have.
SIDES = (320, 360, 400)
#: How often results are counted, and how long the whole may take (seconds).
LOOK_EVERY_S, LONGEST_S = 0.01, 1100.0


def measure(place: Workshop) -> Mapping[str, Any]:
    """Memory of ``photomend restore`` on the preview pack after so many photos (MB), and how much it grew."""
    folder = place.folder / "hundred"
    shutil.rmtree(folder, ignore_errors=True)
    photos, results = folder / "photos", folder / "results"
    results.mkdir(parents=True)
    _make(place, photos)
    began = time.monotonic()
    held = _held(place, photos, results)
    return {
        "growth_percent": round(100 * (held[LOOKS[-1]] / held[10] - 1), 2),
        # The two that are compared first: a table shows the first ones.
        **{
            f"rss_{count}_mb": round(held[count], 1)
            for count in sorted(LOOKS, key=lambda count: count not in (10, 100))
        },
        "peak_mb": round(max(held.values())),
        "ours_s": round(time.monotonic() - began, 2),
        "photos": COUNT,
    }


def _make(place: Workshop, photos: Path) -> None:
    """Different ones, as JPEG and PNG."""
    import cv2

    photos.mkdir()
    originals = [cv2.imread(str(pictures.file(place, name))) for name in pictures.PHOTOS]
    for number in range(COUNT):
        original = originals[number % len(originals)]
        assert original is not None  # noqa: S101 - our own file
        side = SIDES[number // len(originals) % len(SIDES)]
        factor = side / max(original.shape[:2])
        small = cv2.resize(original, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        lighter = cv2.convertScaleAbs(small, alpha=1.0, beta=number / 10)
        cv2.imwrite(str(photos / f"{number:03d}.{'png' if number % 4 == 3 else 'jpg'}"), lighter)


def _held(place: Workshop, photos: Path, results: Path) -> dict[int, float]:
    """How many photos were done → what the process holds (MB).

    Raises:
        RuntimeError: the command failed, or took too long.
    """
    weights, log = place.folder / "no-weights", place.folder / "folder-restore.log"
    weights.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "photomend", "restore", str(photos), "-o", str(results), "--model", "preview"]
    command += ["--background", "none", "--outputs", "image", "--weights-dir", str(weights)]
    held: dict[int, float] = {}
    until = time.monotonic() + LONGEST_S
    with log.open("wb") as words, subprocess.Popen(command, stdout=words, stderr=words) as restore:  # noqa: S603 - ours
        try:
            while restore.poll() is None and time.monotonic() < until:
                done = sum(path.suffix in {".jpg", ".png"} and path.name[0] != "." for path in results.iterdir())
                for count in LOOKS:
                    if done >= count and count not in held and (mb := memory_mb("VmRSS", pid=restore.pid)):
                        held[count] = mb
                time.sleep(LOOK_EVERY_S)
        finally:
            restore.kill()
    if restore.returncode or held.keys() != set(LOOKS):
        tail = log.read_text(errors="replace")[-1000:]
        raise RuntimeError(f"restore ended with {restore.returncode} after {max(held, default=0)} photos: {tail}")
    return held


TRIALS = (
    Trial(
        name="folder-100",
        measure=measure,
        about_s=60,
        promises=(at_most("growth_percent", 2.0),),
        note="small photos by the preview pack, `photomend restore` in one process: memory (rss) after the hundredth"
        " beyond that after the tenth",
    ),
)
