"""The figures that the model card publishes: what the restorer gains, what the detector finds and imagines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch.networks import Network
from pipeline.detect import FaceDetector, overview
from pipeline.picture import Drawn
from pipeline.training.anchors import overlap
from pipeline.training.degrade import SEVERITIES, Severity, degrade
from pipeline.training.faces import Faces, evaluation_pair, to_batch
from pipeline.training.losses import VggDistance, features_apart, psnr, ssim
from pipeline.types import Face, FloatImage, compute_here

#: Seed of the published figures' degradations; training uses others.
EVALUATION_SEED = 20210111
#: Score from which a detection counts; the default of ``RestoreOptions.min_score``.
MIN_SCORE = 0.5
#: The architecture of the detectors that are compared.
DETECTOR = "retinaface-mobilenet0.25"
#: Overlap (IoU) from which two boxes are the same face.
SAME_FACE_IOU = 0.5
#: Sides (px) at which a val crop is set into a larger picture, and that picture's side.
SMALL_PX, SCENE_PX = (96, 160, 288), 640


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Means over pictures: decibels, similarity 0 to 1, and VGG distance (lower is better; None without VGG)."""

    psnr: float
    ssim: float
    vgg: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Degraded input and restored output against the original."""

    severity: Severity
    faces: int
    before: Figures
    after: Figures


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


Told = Callable[[str], None]


def restorer_gain(
    network: nn.Module, faces: Faces, severity: Severity, *, vgg: VggDistance | None, indices: Iterable[int], told: Told
) -> Gain:
    """What the restorer makes of whole val faces at one severity, by the fixed seed."""
    network.eval()
    before, after = [], []
    for index in indices:
        degraded, original = (
            to_batch([p]) for p in evaluation_pair(faces, index, SEVERITIES[severity], seed=EVALUATION_SEED)
        )
        with torch.inference_mode():
            restored = network(degraded)
            wanted = None if vgg is None else vgg.features(original)
            before.append(_figures(degraded, original, vgg, wanted))
            after.append(_figures(restored, original, vgg, wanted))
        told(f"{severity} {faces.names[index]}")
    return Gain(severity=severity, faces=len(before), before=_mean(before), after=_mean(after))


def _figures(a: Tensor, b: Tensor, vgg: VggDistance | None, wanted: list[Tensor] | None) -> Figures:
    distance = None if vgg is None or wanted is None else float(features_apart(vgg.features(a), wanted))
    return Figures(psnr=float(psnr(a, b)), ssim=float(ssim(a, b)), vgg=distance)


def _mean(rows: list[Figures]) -> Figures:
    distances = [r.vgg for r in rows if r.vgg is not None]
    return Figures(
        psnr=float(np.mean([r.psnr for r in rows])),
        ssim=float(np.mean([r.ssim for r in rows])),
        vgg=float(np.mean(distances)) if distances else None,
    )


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
