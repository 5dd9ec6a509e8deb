"""Where the faces are: the real detector's answer on each training crop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch.retinaface import build, lean
from pipeline.detect import detect_once
from pipeline.training.faces import Faces
from pipeline.training.placement import Label
from pipeline.types import Face, FloatImage

#: A crop is used where the detector is at least so sure of its one face ...
SURE = 0.8
#: ... and sees nothing else from this score on, lest a neighbour's face be taught as background.
SEEN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A crop that cannot teach."""

    name: str
    faces: int  #: seen in it


def load_detector(tensors: dict[str, Tensor]) -> nn.Module:
    """A lean RetinaFace ``mobile0.25`` with these weights, which may carry ``module.`` before their names."""
    network = build("mobile0.25")
    network.load_state_dict({name.removeprefix("module."): value for name, value in tensors.items()})
    return lean(network)


def find_once(network: nn.Module, image: FloatImage, *, min_score: float) -> list[Face]:
    """Faces in one picture (H, W, 3) RGB in [0, 1] at its own size alone, best first."""
    boxes, landmarks, scores = detect_once(network, image, device=torch.device("cpu"), threshold=min_score)
    return [
        Face(box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])), landmarks=points, score=float(score))
        for box, points, score in zip(boxes, landmarks, scores, strict=True)
    ]


def label_faces(faces: Faces, network: nn.Module) -> tuple[dict[int, Label], list[Skipped]]:
    """The labels of all faces that can teach, by index, and what was left out."""
    labels: dict[int, Label] = {}
    skipped: list[Skipped] = []
    for index in range(len(faces)):
        found = find_once(network, faces[index], min_score=SEEN)
        if len(found) == 1 and found[0].score >= SURE:
            labels[index] = Label(box=np.array(found[0].box, np.float32), landmarks=found[0].landmarks)
        else:
            skipped.append(Skipped(name=faces.names[index], faces=len(found)))
    return labels, skipped


def write_labels(path: Path, faces: Faces, labels: dict[int, Label]) -> None:
    """Keeps labels beside the checkpoint, so that a resumed run has the same ones without asking again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, NDArray[np.float32]] = {
        faces.names[i]: np.concatenate([label.box, label.landmarks.reshape(-1)]) for i, label in labels.items()
    }
    np.savez(path, **rows)  # type: ignore[arg-type]


def read_labels(path: Path, faces: Faces) -> dict[int, Label]:
    """What ``write_labels`` wrote."""
    with np.load(path) as rows:
        return {
            index: Label(box=rows[name][:4], landmarks=rows[name][4:].reshape(5, 2))
            for index, name in enumerate(faces.names)
            if name in rows.files
        }
