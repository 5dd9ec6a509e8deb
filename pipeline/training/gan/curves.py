"""What a run writes down about itself: curves as CSV (and for TensorBoard), and grids of pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.training.checkpoints import replace_at_once
from pipeline.training.errors import WrongOptions


class Curves:
    """A CSV file of means since the row before, one row every so many steps: ``step,name,mean``.

    One figure a line, since not every figure is there in every step. Rows beyond ``resumed_at`` are of steps that are
    done again and are removed first.
    """

    def __init__(self, path: Path, *, resumed_at: int = 0, board: Any = None) -> None:
        self.path, self._board = path, board
        self._sums: dict[str, tuple[float, int]] = {}
        kept = [row for row in read_curves(path) if row[0] <= resumed_at] if resumed_at else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([("step", "name", "mean"), *((step, name, repr(mean)) for step, name, mean in kept)])
        replace_at_once(path, lambda file: file.write(text.getvalue().encode()))

    def add(self, figures: Mapping[str, float]) -> None:
        """One step's figures."""
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def row(self, step: int) -> dict[str, float]:
        """Write the means since the last row, and tell them."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows((step, name, repr(mean)) for name, mean in means.items())
        if self._board is not None:
            for name, mean in means.items():
                self._board.add_scalar(name, mean, step)
        return means


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """The rows of a curves file: step, name, mean; none where there is no file. A torn last line is left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(int(row[0]), row[1], float(row[2])) for row in rows if len(row) == 3 and row[2]]


def open_board(folder: Path, *, resumed_at: int) -> Any:
    """TensorBoard's writer.

    Raises:
        WrongOptions: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (of the extra "train"; CSV does without)
    except ImportError as err:
        raise WrongOptions("tensorboard = true needs it: pip install tensorboard") from err
    return SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)


def write_grid(path: Path, rows: list[Tensor]) -> None:
    """A PNG with each (N, 3, S, S) in [-1, 1] as one row of pictures."""
    picture = torch.cat([torch.cat([*row.float().cpu()], dim=2) for row in rows], dim=1)
    pixels = ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    _, coded = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
    replace_at_once(path, lambda file: file.write(coded.tobytes()))
