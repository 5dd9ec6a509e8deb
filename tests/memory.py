"""How much memory a large scan needs: ``python -m tests.memory --megapixels 100`` or ``make memory``.

Makes a 16-bit TIFF with faces, and restores it in a process of its own, whose memory is limited by the kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile

#: Distance between the faces of the scan, and their portraits' side: from a group's to one that fills a print (px).
FACE_EVERY_PX = 2600
PORTRAITS_PX = (300, 700, 2400)

#: Rows of the scan that are made at a time.
ROWS = 256

#: The scan's grain, of a 16-bit range.
GRAIN = 600

MIB = 1024**2

#: What the loaded process may have freed and not given back: an allocation must be that much above the limit to fail.
SLACK_MIB = 64


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run. Memory is what the process holds by itself (anonymous pages); file cache is the kernel's to drop."""

    megapixels: float
    scale: float
    limit_mib: int  #: RLIMIT_DATA, on top of what the loaded process holds
    loaded_mib: int  #: anonymous memory before the scan was opened
    peak_mib: int  #: anonymous memory, most of it while the scan was worked on
    mapped_mib: int  #: the same with pages of files that were mapped at that time
    refused: bool  #: whether an allocation just above the limit failed, as it must
    faces: int  #: restored
    seconds: float
    stages: dict[str, float]
    files: dict[str, int]  #: part → bytes


def write_scan(path: Path, megapixels: float) -> None:
    """A 16-bit RGB TIFF of 4 to 3: grain over a gradient, and portraits of several sizes."""
    from skimage import data

    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    scan = tifffile.memmap(path, shape=(height, width, 3), dtype=np.uint16, photometric="rgb")
    rng = np.random.default_rng(1)
    ramp = np.linspace(9_000, 50_000, width)[None, :, None]
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        scan[top : top + rows] = ramp + rng.normal(0, GRAIN, (rows, width, 3))
    portrait = data.astronaut()[:320, 60:380]  # type: ignore[no-untyped-call]
    corners = [
        (y, x) for y in range(100, height - 2500, FACE_EVERY_PX) for x in range(100, width - 2500, FACE_EVERY_PX)
    ]
    for index, (y, x) in enumerate(corners):
        side = PORTRAITS_PX[index % len(PORTRAITS_PX)]
        scan[y : y + side, x : x + side] = cv2.resize(
            portrait, (side, side), interpolation=cv2.INTER_CUBIC
        ) * np.uint16(257)
    scan.flush()


def measure(scan: Path, *, limit_mib: int, scale: float, folder: Path) -> Measured:
    """Restore the scan here, under the limit; the results go into ``folder``."""
    from pipeline.options import OutputOptions, RestoreOptions
    from pipeline.picture import Drawn
    from pipeline.restoration import process
    from pipeline.restorer import Restorer
    from pipeline.types import FaceStatus
    from pipeline.weights import WeightStore

    restorer = Restorer.load(WeightStore(folder, allow_preview=True), device="cpu")
    options = RestoreOptions(scale=scale, background="none", keep_crops=True)
    restorer(Drawn(np.full((512, 512, 3), 0.5, np.float32)), options)
    loaded = _held("RssAnon")
    limit = _held("VmData") + limit_mib * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    refused = _is_refused((limit_mib + SLACK_MIB) * MIB)
    began, watch = time.monotonic(), _Watch()
    with watch:
        outputs = process(
            scan.read_bytes(),
            options=options,
            output=OutputOptions(outputs=("image", "faces", "comparison", "mask", "provenance")),
            restorer=restorer,
        )
        files = {}
        for part in outputs.parts:
            (folder / f"{part.name.replace('/', '-')}.{part.extension}").write_bytes(part.data)
            files[part.name] = len(part.data)
    return Measured(
        megapixels=outputs.report.megapixels,
        scale=scale,
        limit_mib=limit_mib,
        loaded_mib=loaded // MIB,
        peak_mib=watch.peak // MIB,
        mapped_mib=watch.peak_mapped // MIB,
        refused=refused,
        faces=sum(face.status is FaceStatus.RESTORED for face in outputs.report.faces),
        seconds=round(time.monotonic() - began, 1),
        stages={stage: round(took, 1) for stage, took in outputs.report.seconds.items()},
        files=files,
    )


def _is_refused(size: int) -> bool:
    try:
        np.ones(size, np.uint8)
    except MemoryError:
        return True
    return False


def _held(kind: str) -> int:
    """Bytes, by the kernel's count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(kind))


class _Watch:
    """Looks at this process' memory often enough to see its peak."""

    #: Arrays that make a peak live for longer.
    EVERY_S = 0.02

    def __init__(self) -> None:
        self.peak = self.peak_mapped = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(self.EVERY_S):
            self.peak = max(self.peak, _held("RssAnon"))
            self.peak_mapped = max(self.peak_mapped, _held("VmRSS"))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def run(*, megapixels: float, limit_mib: int, scale: float = 2.0, folder: Path | None = None) -> Measured:
    """The scan, made and restored in a process of its own.

    Raises:
        RuntimeError: the process failed; its words.
    """
    with tempfile.TemporaryDirectory(prefix="photomend-memory-", dir=folder) as name:
        scan, results = Path(name) / "scan.tif", Path(name) / "results"
        write_scan(scan, megapixels)
        results.mkdir()
        command = [sys.executable, "-m", "tests.memory", "--inside", str(scan), "--scale", str(scale)]
        command += ["--limit-mib", str(limit_mib), "--folder", str(results)]
        done = subprocess.run(command, env=os.environ | {"TMPDIR": name}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="How much memory a large scan needs")
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--limit-mib", type=int, default=2600)
    parser.add_argument("--folder", type=Path, help="where the scan and the scratch files go: on a disk, not in memory")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.inside:
        result = measure(told.inside, limit_mib=told.limit_mib, scale=told.scale, folder=told.folder)
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
        return
    result = run(megapixels=told.megapixels, limit_mib=told.limit_mib, scale=told.scale, folder=told.folder)
    sys.stdout.write(json.dumps(asdict(result), indent=2) + "\n")


if __name__ == "__main__":
    main()
