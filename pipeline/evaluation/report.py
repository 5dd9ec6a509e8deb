"""What is written of an evaluation: CSV, JSON, a plot, a grid of pictures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.evaluation.measures import Named
from pipeline.evaluation.restoration import Mean, Row
from pipeline.evaluation.samples import Sample
from pipeline.types import FloatImage

#: Names of the files in the output folder.
CSV_FILE, JSON_FILE, PLOT_FILE, GRID_FILE = "evaluation.csv", "evaluation.json", "evaluation.png", "grid.png"
#: Side of a picture in the grid, and height of its heading.
CELL_PX, HEADING_PX = 256, 22


def write_csv(path: Path, means: Sequence[Mean]) -> None:
    """One line for each subject, group and measure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "group", "measure", "mean", "deviation", "pictures"])
        for m in means:
            deviation = "" if m.deviation is None else f"{m.deviation:.6g}"
            writer.writerow([m.subject, m.group, m.measure, f"{m.mean:.6g}", deviation, m.count])


def write_json(path: Path, *, means: Sequence[Mean], rows: Sequence[Row], more: dict[str, Any]) -> None:
    """Everything, each picture's figures included; what is not defined is null."""
    content = more | {"means": [asdict(m) for m in means], "pictures": [asdict(r) for r in rows]}
    text = json.dumps(_defined(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _defined(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    return [_defined(item) for item in value] if isinstance(value, list | tuple) else value


def plot(path: Path, means: Sequence[Mean], measures: Sequence[Named]) -> None:
    """Bars of each measure by group and subject.

    Raises:
        ImportError: matplotlib is not here; it is of the ``evaluate`` extra.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  (of the `evaluate` extra)

    groups, subjects = list(dict.fromkeys(m.group for m in means)), list(dict.fromkeys(m.subject for m in means))
    height = {(m.subject, m.group, m.measure): m.mean for m in means}
    figure = Figure(figsize=(3.2 * len(measures), 3.4), layout="constrained")
    axes = figure.subplots(1, len(measures), squeeze=False)[0]
    width = 0.8 / len(subjects)
    for axis, measure in zip(axes, measures, strict=True):
        for number, subject in enumerate(subjects):
            places = np.arange(len(groups)) + width * (number - (len(subjects) - 1) / 2)
            axis.bar(places, [height.get((subject, g, measure.name), np.nan) for g in groups], width, label=subject)
        axis.set_xticks(range(len(groups)), groups)
        axis.set_title(f"{measure.title} ({'more' if measure.higher_is_better else 'less'} is better)", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(subjects))
    figure.savefig(path)


class Grid:
    """Rows of what each subject made of a face, and the original: for eyes, which figures do not replace.

    Only the first ``most`` faces of each group are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[FloatImage] = []
        self._counts: dict[str, int] = {}
        self._headings: list[str] = []

    def add(self, sample: Sample, restored: dict[str, FloatImage]) -> None:
        """Keeps the row if its group is not full yet."""
        if self._counts.get(sample.group, 0) >= self._most:
            return
        self._counts[sample.group] = self._counts.get(sample.group, 0) + 1
        self._headings = [*restored, "original"]
        cells = [_small(picture) for picture in (*restored.values(), sample.original)]
        self._rows.append(np.hstack(cells))

    def write(self, path: Path) -> bool:
        """Whether there was something to write."""
        if not self._rows:
            return False
        heading = np.full((HEADING_PX, self._rows[0].shape[1], 3), 255, np.uint8)
        for number, name in enumerate(self._headings):
            place = (number * CELL_PX + 4, HEADING_PX - 7)
            cv2.putText(heading, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        levels = np.round(np.vstack(self._rows) * 255).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(path), np.vstack([heading, levels[:, :, ::-1]]))
        return True


def _small(picture: FloatImage) -> FloatImage:
    return np.asarray(cv2.resize(picture, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA), np.float32)
