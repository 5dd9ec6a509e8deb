"""How well detectors find the faces that a reference detector finds, and what they imagine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import nn

from pipeline.arch.networks import Network
from pipeline.detect import FaceDetector, overview
from pipeline.errors import UnreadableImage
from pipeline.evaluation.samples import EVALUATION_SEED
from pipeline.picture import Drawn
from pipeline.training.anchors import overlap
from pipeline.training.degrade import SEVERITIES, Severity, degrade
from pipeline.training.faces import Faces
from pipeline.types import Face, FloatImage, compute_here

Told = Callable[[str], None]

#: Score from which a detection counts; the default of ``RestoreOptions.min_score``.
MIN_SCORE = 0.5
#: The architecture of the detectors that are compared.
DETECTOR = "retinaface-mobilenet0.25"
#: Overlap (IoU) from which two boxes are the same face.
SAME_FACE_IOU = 0.5
#: Sides (px) at which a val crop is set into a larger picture, and that picture's side.
SMALL_PX, SCENE_PX = (96, 160, 288), 640
#: Photos are looked at with at most this longer side (px), as large ones gain nothing and cost much.
PHOTO_PX = 1280
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How many of the faces that the reference detector finds are found."""

    protocol: str
    there: int
    found: int
    extra: int  #: detections that the reference does not make
    landmark_error: float  #: mean distance of landmarks, as a share of the box's longer side

    @property
    def share(self) -> float:
        return self.found / max(1, self.there)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """One detector's figures."""

    detector: str
    recalls: tuple[Recall, ...]
    alarms: dict[str, list[float]]  #: scores of what was found in each face-free picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What detectors are tried on."""

    crops: Faces | None  #: aligned faces: as they are, degraded, and small in scenes
    photos: Path | None  #: a folder of whole photos
    face_free: dict[str, NDArray[np.uint8]]  #: (H, W, 3) uint8 RGB


def detections(name: str, network: nn.Module, reference: nn.Module, material: Material, *, told: Told) -> Detections:
    """Recall against the reference by protocol, and false alarms.

    Raises:
        UnreadableImage: a photo cannot be read.
    """
    recalls = tuple(
        detector_recall(network, reference, pictures, protocol=protocol, told=told)
        for protocol, pictures in _protocols(material).items()
    )
    alarms = false_alarms(network, material.face_free, told=told)
    return Detections(detector=name, recalls=recalls, alarms=alarms)


def _protocols(material: Material) -> dict[str, Iterable[FloatImage]]:
    found: dict[str, Iterable[FloatImage]] = {}
    if material.crops is not None:
        found["as they are"] = whole(material.crops)
        found["medium severity"] = spoiled(material.crops)
        if material.face_free:
            scenes = in_scenes(material.crops, tuple(material.face_free.values()))
            found["96, 160 and 288 px in a scene"] = scenes
    if material.photos is not None:
        # A protocol for each photo: a mean over photos would hide a crowd behind a portrait.
        for path in pictures_in(material.photos):
            found[path.name] = [read_photo(path)]
    return found


def pictures_in(folder: Path) -> list[Path]:
    """The folder's pictures, by name.

    Raises:
        UnreadableImage: no such folder, or it holds none.
    """
    if not folder.is_dir():
        raise UnreadableImage(f"{folder} is no folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise UnreadableImage(f"no pictures in {folder}")
    return found


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB.

    Raises:
        UnreadableImage: no picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UnreadableImage(f"{path} is no picture")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def read_photo(path: Path) -> FloatImage:
    """(H, W, 3) float32 RGB in [0, 1], at most ``PHOTO_PX`` on its longer side.

    Raises:
        UnreadableImage: no picture.
    """
    pixels = read_pixels(path)
    factor = min(1.0, PHOTO_PX / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def detector_recall(
    network: nn.Module, reference: nn.Module, pictures: Iterable[FloatImage], *, protocol: str, told: Told
) -> Recall:
    """Faces of the reference detector that ``network`` finds in the same pictures."""
    there = found = extra = 0
    errors: list[float] = []
    for number, picture in enumerate(pictures):
        truth = find_faces(reference, picture)
        answer = find_faces(network, picture)
        pairs = matches(truth, answer)
        there, found, extra = there + len(truth), found + len(pairs), extra + len(answer) - len(pairs)
        errors += [float(np.linalg.norm(t.landmarks - a.landmarks, axis=1).mean() / t.size_px) for t, a in pairs]
        told(f"{protocol} {number}")
    error = float(np.mean(errors)) if errors else float("nan")
    return Recall(protocol=protocol, there=there, found=found, extra=extra, landmark_error=error)


def find_faces(network: nn.Module, image: FloatImage) -> list[Face]:
    """What the pipeline's detector, on its copies at several sizes, counts as a face with this network."""
    height, width = image.shape[:2]
    detector = FaceDetector(lambda: Network(module=network, architecture=DETECTOR), torch.device("cpu"))
    found = detector(overview(Drawn(image)), width=width, height=height, compute=compute_here)
    return [face for face in found if face.score >= MIN_SCORE]


def matches(truth: list[Face], answer: list[Face]) -> list[tuple[Face, Face]]:
    """Pairs of the same face, best overlap first, each used once."""
    if not truth or not answer:
        return []
    shared = overlap(torch.tensor([t.box for t in truth]), torch.tensor([a.box for a in answer]))
    pairs = []
    while float(shared.max()) >= SAME_FACE_IOU:
        row, column = divmod(int(shared.argmax()), len(answer))
        pairs.append((truth[row], answer[column]))
        shared[row, :], shared[:, column] = -1, -1
    return pairs


def whole(faces: Faces) -> Iterable[FloatImage]:
    """The val crops as they are."""
    return (faces[i] for i in range(len(faces)))


def spoiled(faces: Faces) -> Iterable[FloatImage]:
    """The val crops at medium severity."""
    return (
        degrade(faces[i], SEVERITIES[Severity.MEDIUM], default_rng([EVALUATION_SEED, i])) for i in range(len(faces))
    )


def in_scenes(faces: Faces, pictures: tuple[NDArray[np.uint8], ...]) -> Iterable[FloatImage]:
    """Each val crop at three sizes in one larger face-free picture."""
    for index in range(len(faces)):
        picture = cv2.resize(pictures[index % len(pictures)], (SCENE_PX, SCENE_PX), interpolation=cv2.INTER_AREA)
        scene = picture.astype(np.float32) / np.float32(255)
        x = 20
        for side in SMALL_PX:
            small = cv2.resize(faces[index], (side, side), interpolation=cv2.INTER_AREA)
            y = 20 + (index * 37) % (SCENE_PX - side - 40)
            scene[y : y + side, x : x + side] = small
            x += side + 16
        yield scene


def false_alarms(network: nn.Module, pictures: dict[str, NDArray[np.uint8]], *, told: Told) -> dict[str, list[float]]:
    """Scores of what is found in pictures without a face, by the picture's name."""
    alarms = {}
    for name, picture in pictures.items():
        image = picture.astype(np.float32) / np.float32(255)
        alarms[name] = [f.score for f in find_faces(network, image)]
        told(f"face-free {name}")
    return alarms
