"""Whether ours finds the faces that facexlib's one pass over the whole picture finds, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.choice import overlap
from pipeline.codec import read
from pipeline.compat import foreign
from pipeline.detect import SAME_FACE_IOU
from pipeline.options import RestoreOptions
from pipeline.picture import whole
from pipeline.restorer import Restorer
from pipeline.types import FaceStatus
from pipeline.weights import WeightStore

#: The detector that is compared: the only published one of which a file is at hand.
DETECTOR = "retinaface-mobilenet0.25"

#: From this score on both count a face; upstream's own 0.97 finds fewer.
MIN_SCORE = RestoreOptions().min_score


Box = tuple[float, float, float, float]


def facexlibs(name: str, store: WeightStore, weights: str) -> Any:
    """facexlib's RetinaFace ``resnet50`` or ``mobile0.25`` on the CPU with the weights of this name."""
    with foreign():
        from facexlib.detection.retinaface import RetinaFace

        detector = RetinaFace(name, device=torch.device("cpu"))
    detector.load_state_dict(store.load(weights))
    return detector.eval()


def seen(path: Path, theirs: Any) -> list[Box]:
    """The faces that facexlib's detector finds in a photo."""
    image = np.ascontiguousarray(whole(read(path.read_bytes()).picture)[:, :, ::-1]) * 255
    with torch.no_grad():
        rows = theirs.detect_faces(image, MIN_SCORE)
    return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in rows[:, :4]]


def found(path: Path, ours: Restorer) -> tuple[list[Box], str]:
    """The faces that ours finds in a photo, and how: engine and precision."""
    told = ours.find(read(path.read_bytes()).picture, RestoreOptions())
    boxes = [face.box for face in told.faces if face.status is FaceStatus.FOUND]
    return boxes, f"{told.model['engine']} {told.model['precision']}"


def missed(theirs: list[Box], ours: list[Box]) -> list[Box]:
    """Faces of theirs that are none of ours."""
    return [box for box in theirs if max((overlap(box, one) for one in ours), default=0.0) < SAME_FACE_IOU]
