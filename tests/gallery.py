"""Pictures to look at: every photo as it was, restored, its mask and what changed, with its faces; ``make gallery``.

One sheet per photo and ``index.html`` over all of them, in a folder that git ignores. Without photos named, those of
``SHARED_DIR`` are taken, or scikit-image's portrait and pictures without faces.
"""

from __future__ import annotations

import argparse
import html
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from photomend.demo.picture import as_png
from pipeline.errors import PipelineError
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.resize import resize
from pipeline.restoration import Outputs, process
from pipeline.restorer import Restorer
from pipeline.types import FaceStatus
from pipeline.weights import WeightStore
from worker.settings import WorkerSettings

Pixels = NDArray[np.uint8]  #: (H, W, 3) RGB

#: Longest side of one panel, and the side of one face (px).
PANEL_PX, FACE_PX = 720, 256
#: Most faces on one sheet: before and after of the largest.
MAX_FACES = 8
#: Differences are shown this many times larger, around mid-grey: most of them are a few levels.
DIFFERENCE_GAIN = 4
GAP_PX, BAR_PX, PAPER = 8, 28, 250


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One photo's sheet, and what stands beside it."""

    name: str
    pixels: Pixels
    lines: tuple[str, ...]


def sheet(path: Path, restorer: Restorer, options: RestoreOptions) -> Sheet:
    """The photo through the pipeline.

    Raises:
        PipelineError: it cannot be processed.
    """
    data = path.read_bytes()
    output = OutputOptions(outputs=("image", "mask", "faces", "provenance"))
    made = process(data, options=options, output=output, restorer=restorer)
    panels, faces = _panels(data, made), _faces(made)
    rows = [_beside(panels), *([_beside(faces)] if faces else [])]
    return Sheet(name=path.name, pixels=_below(rows), lines=tuple(_words(made)))


def _panels(data: bytes, made: Outputs) -> list[Pixels]:
    after = _seen(made.part("image").data)
    height, width = after.shape[:2]
    before = resize(_seen(data), width, height)
    change = after.astype(np.int16) - before.astype(np.int16)
    difference = np.clip(128 + DIFFERENCE_GAIN * change, 0, 255).astype(np.uint8)
    shown = {
        "input": before,
        "restored": after,
        "mask: white = face, grey = upsampler": _seen(made.part("mask").data),
        f"difference x {DIFFERENCE_GAIN}": difference,
    }
    return [_labelled(_fitted(pixels, PANEL_PX), label) for label, pixels in shown.items()]


def _faces(made: Outputs) -> list[Pixels]:
    restored = [face for face in made.report.faces if face.status is FaceStatus.RESTORED]
    largest = sorted(restored, key=lambda face: -face.size_px)[:MAX_FACES]
    pairs = []
    for face in sorted(largest, key=lambda face: face.index):
        halves = [_seen(made.part(f"faces/{face.index}{part}").data) for part in ("-before", "")]
        pair = np.concatenate([resize(half, FACE_PX, FACE_PX) for half in halves], axis=1)
        pairs.append(_labelled(pair, f"face {face.index}: {face.size_px:.0f} px"))
    return pairs


def _words(made: Outputs) -> Iterator[str]:
    report = made.report
    yield f"{report.width} x {report.height} px, {sum(report.seconds.values()):.1f} s, {report.model['name']}"
    restored = sum(face.status is FaceStatus.RESTORED for face in report.faces)
    yield f"{restored} of {len(report.faces)} candidates restored"
    for face in report.faces:
        if face.reason:
            yield f"face {face.index} {face.status}: {face.reason}"
    for notice in report.warnings:
        yield f"{notice.code}: {notice.detail}"


def _seen(data: bytes) -> Pixels:
    """What a viewer shows of a file."""
    pixels = cv2.imdecode(np.frombuffer(as_png(data), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _fitted(pixels: Pixels, side: int) -> Pixels:
    factor = side / max(pixels.shape[:2])
    return resize(pixels, max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))


def _labelled(pixels: Pixels, label: str) -> Pixels:
    bar = np.full((BAR_PX, pixels.shape[1], 3), PAPER, np.uint8)
    cv2.putText(bar, label, (4, BAR_PX - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([bar, pixels])


def _beside(panels: Sequence[Pixels]) -> Pixels:
    height = max(panel.shape[0] for panel in panels)
    return np.concatenate([_padded(panel, height, panel.shape[1] + GAP_PX) for panel in panels], axis=1)


def _below(rows: Sequence[Pixels]) -> Pixels:
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_padded(row, row.shape[0] + GAP_PX, width) for row in rows])


def _padded(pixels: Pixels, height: int, width: int) -> Pixels:
    paper = np.full((height, width, 3), PAPER, np.uint8)
    paper[: pixels.shape[0], : pixels.shape[1]] = pixels
    return paper


def page(sheets: Sequence[Sheet], refused: dict[str, str]) -> str:
    """All sheets on one page; pictures lie beside it."""
    parts = ["<!doctype html><meta charset=utf-8><title>photomend gallery</title>"]
    parts.append("<style>body{font:15px sans-serif;margin:2em}img{max-width:100%}</style><h1>photomend gallery</h1>")
    for one in sheets:
        lines = "".join(f"<li>{html.escape(line)}" for line in one.lines)
        name = html.escape(one.name)
        parts.append(f'<h2>{name}</h2><ul>{lines}</ul><img src="{name}.sheet.png" alt="{name}: input, restored, mask">')
    parts += [f"<h2>{html.escape(name)}</h2><p>{html.escape(reason)}" for name, reason in refused.items()]
    return "\n".join(parts)


def _photos(named: Sequence[Path], out: Path) -> list[Path]:
    shared = Path(os.environ["SHARED_DIR"]) / "photos" if "SHARED_DIR" in os.environ else None
    folders = named or ([shared] if shared else [])
    if folders:
        return sorted(file for path in folders for file in (path.iterdir() if path.is_dir() else [path]))
    from skimage import data

    free = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}
    for name, picture in free.items():
        cv2.imwrite(str(out / f"{name}.png"), picture()[:, :, ::-1])
    return [out / f"{name}.png" for name in free]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="files and folders; else SHARED_DIR's photos")
    parser.add_argument("-o", "--out", type=Path, default=Path("gallery"))
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--background", default="auto")
    parser.add_argument("--weights", type=Path, help="default: PHOTOMEND_WEIGHTS_DIR")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    restorer = Restorer.load(WeightStore(said.weights or WorkerSettings().weights_dir, allow_preview=True))
    options = RestoreOptions(scale=said.scale, background=said.background, keep_crops=True)
    sheets, refused = [], {}
    photos = _photos(said.photos, said.out)
    for number, path in enumerate(photos, 1):
        try:
            made = sheet(path, restorer, options)
        except PipelineError as error:
            refused[path.name] = f"{error.public} {error}"
            sys.stderr.write(f"{number}/{len(photos)} {path.name}: {refused[path.name]}\n")
            continue
        cv2.imwrite(str(said.out / f"{path.name}.sheet.png"), made.pixels[:, :, ::-1])
        sheets.append(made)
        sys.stderr.write(f"{number}/{len(photos)} {path.name}: {'; '.join(made.lines[:2])}\n")
    (said.out / "index.html").write_text(page(sheets, refused))
    sys.stderr.write(f"Look at {said.out / 'index.html'}\n")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
