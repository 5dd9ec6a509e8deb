"""Where eyes and mouths are: the seed project's landmarks file, and boxes for one sample.

The file is a ``torch.save`` of ``{key: {"left_eye": [x, y, half], "right_eye": ..., "mouth": ...}}``, in pixels of the
aligned face: the middle, and half the side of a square. Left is the left in the picture. Keys are pictures' names, or
their numbers (``00000000``) in the order of the data. Source: the seed project's scripts/parse_landmark.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.training.checkpoints import save_at_once
from pipeline.training.errors import WrongData
from pipeline.training.gan.sources import Source, picture
from pipeline.training.labels import find_once
from pipeline.types import Face
from pipeline.weights import read_checkpoint_file

#: In the order in which they are used everywhere.
PARTS = ("left_eye", "right_eye", "mouth")

#: The least half side (px, of 512). Source: the seed project's script.
LEAST_HALF_PX = 16.0

#: Half an eye's opening as a share of the distance of the eyes, which five landmarks have and not the eye's corners:
#: 30 mm of 63 mm. Source: adults' mean palpebral fissure and interpupillary distance.
EYE_HALF = 0.24

#: A face is used where the detector is at least so sure of it.
SURE = 0.5

Component = NDArray[np.float64]  #: (3,): x, y, half


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks:
    """The components of each picture of a source, in its order."""

    components: NDArray[np.float64]  #: (pictures, 3 parts, 3): x, y, half

    def boxes(self, index: int, *, side: int, mirrored: bool, enlarge_eyes: float) -> NDArray[np.float32]:
        """(3, 4): x0, y0, x1, y1 of left eye, right eye and mouth, as the seed project cuts them."""
        parts = self.components[index].copy()
        if mirrored:
            parts = parts[[1, 0, 2]]
            parts[:, 0] = side - parts[:, 0]
        middle, half = parts[:, :2], parts[:, 2:] * np.array([[enlarge_eyes], [enlarge_eyes], [1]])
        return np.concatenate([middle - half + 1, middle + half], axis=1).astype(np.float32)


def read_landmarks(path: Path, source: Source) -> Landmarks:
    """The components of the source's pictures.

    Raises:
        WeightsMissing, WeightsCorrupt: there is no such file, or it holds something else than numbers.
        WrongData: it lacks pictures, or parts of them.
    """
    content = read_checkpoint_file(path, arrays=True)
    if not isinstance(content, Mapping):
        raise WrongData(f"{path} is no landmarks file; `photomend train landmarks` makes one")
    keys = _keys(content, source, path)
    try:
        rows = [[np.asarray(content[key][part], np.float64).reshape(3) for part in PARTS] for key in keys]
    except (KeyError, TypeError, ValueError) as err:
        raise WrongData(f"{path} does not give x, y and half a side for each of {', '.join(PARTS)}: {err}") from err
    return Landmarks(components=np.array(rows))


def _keys(content: Mapping[str, Any], source: Source, path: Path) -> list[str]:
    """The key of each picture: its name, or else its number."""
    by_name = [*source.names]
    by_number = [f"{number:08d}" for number in range(len(by_name))]
    lacking = {id(keys): [key for key in keys if key not in content] for keys in (by_name, by_number)}
    for keys in (by_name, by_number):
        if not lacking[id(keys)]:
            return keys
    missing = min(lacking.values(), key=len)
    raise WrongData(
        f"{path} lacks {len(missing)} of the {len(by_name)} pictures, such as {missing[0]}; `photomend train "
        "landmarks` makes the file, and its --set-aside moves pictures away in which it finds no face"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of a folder's pictures."""

    found: int
    without: tuple[int, ...]  #: the pictures' numbers in which no face was found


def make_landmarks(source: Source, detector: nn.Module, path: Path, *, told: Callable[[int], None]) -> Made:
    """Write the landmarks file for all pictures in which the detector finds a face; ``told`` how many were looked at.

    Raises:
        WrongData: a picture cannot be read, two have the same name, or none has a face.
    """
    if len(set(source.names)) < len(source.names):
        raise WrongData("two pictures have the same name, which is their key in the file")
    found: dict[str, dict[str, Component]] = {}
    without: list[int] = []
    for index, name in enumerate(source.names):
        image = picture(source, index)
        faces = find_once(detector, image, min_score=SURE)
        if faces:
            found[name] = parts_of(max(faces, key=lambda face: face.size_px), side=image.shape[0])
        else:
            without.append(index)
        told(index + 1)
    if not found:
        raise WrongData("no face was found in any picture")
    save_at_once(path, found)
    return Made(found=len(found), without=tuple(without))


def parts_of(face: Face, *, side: int) -> dict[str, Component]:
    """Eyes and mouth of a face in an aligned picture of this side."""
    eyes, corners = face.landmarks[:2].astype(np.float64), face.landmarks[3:5].astype(np.float64)
    least = LEAST_HALF_PX * side / 512
    eye = max(least, EYE_HALF * float(np.linalg.norm(eyes[1] - eyes[0])))
    mouth = max(least, float(np.ptp(corners, axis=0).max()) / 2)
    return {
        "left_eye": np.array([*eyes[0], eye]),
        "right_eye": np.array([*eyes[1], eye]),
        "mouth": np.array([*corners.mean(axis=0), mouth]),
    }
