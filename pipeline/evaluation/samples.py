"""The pictures that are judged: pairs from two folders, or from one by degrading it under a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import UnreadableImage
from pipeline.training.degrade import SEVERITIES, Severity
from pipeline.training.faces import FACE_PX, Faces, evaluation_pair
from pipeline.types import FloatImage

#: Seed of the published figures' degradations; training uses others.
EVALUATION_SEED = 20210111
#: The group of pairs that came as such.
PAIRS = "pairs"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One face, both (512, 512, 3) float32 RGB in [0, 1]."""

    group: str  #: the severity, or ``PAIRS``
    name: str  #: of the file
    degraded: FloatImage
    original: FloatImage


def degraded(
    originals: Faces, severities: Sequence[Severity], *, seed: int, most: int | None = None
) -> Iterator[Sample]:
    """The first ``most`` faces at each severity; the same for the same seed."""
    for severity in severities:
        for index in range(len(originals))[:most]:
            spoiled, original = evaluation_pair(originals, index, SEVERITIES[severity], seed=seed)
            yield Sample(group=severity.value, name=originals.names[index], degraded=spoiled, original=original)


def paired(folder: Path, originals: Faces, *, most: int | None = None) -> Iterator[Sample]:
    """Each original with the picture of the same name in ``folder``, whatever its type; smaller ones are enlarged.

    Raises:
        UnreadableImage: a counterpart is missing or no picture.
    """
    if not folder.is_dir():
        raise UnreadableImage(f"{folder} is no folder")
    by_stem = {path.stem: path for path in sorted(folder.iterdir())}
    for index, name in list(enumerate(originals.names))[:most]:
        path = by_stem.get(Path(name).stem)
        if path is None:
            raise UnreadableImage(f"{folder} holds no counterpart of {name}")
        yield Sample(group=PAIRS, name=name, degraded=_read(path), original=originals[index])


def _read(path: Path) -> FloatImage:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UnreadableImage(f"{path} is no picture")
    if pixels.shape[:2] != (FACE_PX, FACE_PX):
        shrinks = max(pixels.shape[:2]) > FACE_PX
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        pixels = cv2.resize(pixels, (FACE_PX, FACE_PX), interpolation=how)
    return cv2.cvtColor(np.asarray(pixels), cv2.COLOR_BGR2RGB).astype(np.float32) * np.float32(1 / 255)
