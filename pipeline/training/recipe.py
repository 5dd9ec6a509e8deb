"""The committed runs: what is trained on what, for how long, and how the shipped files are made of it.

Data folder: ``faces/train`` and ``faces/val`` (aligned 512 x 512 pictures) and ``weights`` with the two files that
help training: the detector that labels, and the VGG layers of the perceptual loss.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch.preview import PreviewRestorer
from pipeline.arch.retinaface import build
from pipeline.training.checkpoints import read_checkpoint
from pipeline.training.degrade import Severity
from pipeline.training.detector_task import DetectorTask
from pipeline.training.evaluate import (
    Gain,
    Recall,
    detector_recall,
    false_alarms,
    in_scenes,
    restorer_gain,
    spoiled,
    whole,
)
from pipeline.training.faces import Faces
from pipeline.training.labels import label_faces, load_detector, read_labels, write_labels
from pipeline.training.loop import Plan, Task, Told, train
from pipeline.training.losses import VggDistance, channels_last
from pipeline.training.restorer_task import RestorerTask
from pipeline.training.scenes import Material
from pipeline.training.textures import EVALUATION_PICTURES, TRAINING_PICTURES, picture_folder, read_pictures
from pipeline.weights import preview_folder, read_checkpoint_file, unwrap

#: The runs whose results are shipped.
RESTORER_PLAN = Plan(steps=1450, seed=0, rate=6e-4, gradient_norm=0.1)
DETECTOR_PLAN = Plan(steps=2660, seed=0, rate=2e-3, decay_from=0.72)
#: The training score from which the shipped detector counts a face.
DETECTOR_SURE = 0.96
#: Steps between checkpoints.
CHECKPOINT_EVERY = 50
#: Names inside the output folder.
CHECKPOINT, LABELS = "checkpoint.pth", "labels.npz"
#: Names of the shipped files.
RESTORER_FILE, DETECTOR_FILE = "restorer.pth", "detector.pth"
#: Helpers in the data folder's ``weights``.
LABELLER, VGG = "detection_mobilenet0.25_Final.pth", "vgg_normalised_conv3_1.pth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run's inputs and outputs."""

    data: Path
    out: Path
    plan: Plan
    resume: bool = False
    init: Path | None = None  #: weights to start from instead of random ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that ``photomend train --evaluate`` prints."""

    gains: tuple[Gain, ...]
    recalls: tuple[Recall, ...]
    alarms: dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One shipped file."""

    path: Path
    bytes: int
    sha256: str


def set_threads(count: int) -> None:
    """Threads of torch and OpenCV for this process."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def train_restorer(run: Run, *, told: Told) -> nn.Module:
    """Trains the restorer; the checkpoint is in the output folder.

    Raises:
        PipelineError: faces, VGG layers or the checkpoint are missing or damaged.
    """
    faces = Faces(run.data / "faces" / "train")
    task = RestorerTask(faces, seed=run.plan.seed, vgg=load_vgg(run.data / "weights" / VGG))
    return _train(task, run, told)


def train_detector(run: Run, *, told: Told) -> nn.Module:
    """Trains the detector; labels are made by the real one on the first start and kept beside the checkpoint.

    Raises:
        PipelineError: faces, the labelling weights or the checkpoint are missing or damaged.
    """
    faces = Faces(run.data / "faces" / "train")
    kept = run.out / LABELS
    if not kept.is_file():
        labels, _ = label_faces(faces, load_detector(unwrap(read_checkpoint_file(run.data / "weights" / LABELLER), "")))
        write_labels(kept, faces, labels)
    pictures = read_pictures([picture_folder() / name for name in TRAINING_PICTURES])
    material = Material(faces=faces, labels=read_labels(kept, faces), pictures=pictures)
    return _train(DetectorTask(material, seed=run.plan.seed), run, told)


def _train(task: Task, run: Run, told: Told) -> nn.Module:
    if run.init is not None:
        task.model.load_state_dict(unwrap(read_checkpoint_file(run.init), run.init.name))
    return train(
        task,
        run.plan,
        checkpoint=run.out / CHECKPOINT,
        resume=run.resume,
        every=CHECKPOINT_EVERY,
        told=told,
    )


def load_vgg(path: Path) -> VggDistance:
    """The perceptual distance from its published layers."""
    return VggDistance(unwrap(read_checkpoint_file(path), path.name))


def load_restorer(path: Path) -> nn.Module:
    """The restorer from a shipped file, strictly, for evaluation of a file that has no entry yet."""
    network = PreviewRestorer()
    network.load_state_dict(unwrap(read_checkpoint_file(path), path.name))
    return channels_last(network.eval())


def evaluate(
    data: Path,
    *,
    restorer: Path | None = None,
    detector: Path | None = None,
    faces_at_most: int | None = None,
    told: Callable[[str], None],
) -> Report:
    """The figures of two weights files (the shipped ones where none is named) on the val faces.

    Raises:
        PipelineError: something needed is missing or damaged.
    """
    faces = Faces(data / "faces" / "val")
    vgg = load_vgg(data / "weights" / VGG)
    mender = load_restorer(restorer or preview_folder() / RESTORER_FILE)
    chosen = range(len(faces))[:faces_at_most]
    gains = tuple(restorer_gain(mender, faces, severity, vgg=vgg, indices=chosen, told=told) for severity in Severity)
    finder = read_detector(detector or preview_folder() / DETECTOR_FILE)
    real = read_detector(data / "weights" / LABELLER)
    free = face_free_pictures()
    protocols = {
        "as they are": whole(faces),
        "medium severity": spoiled(faces),
        "96, 160 and 288 px in a scene": in_scenes(faces, tuple(free.values())),
    }
    recalls = tuple(
        detector_recall(finder, real, pictures, protocol=name, told=told) for name, pictures in protocols.items()
    )
    return Report(gains=gains, recalls=recalls, alarms=false_alarms(finder, free, told=told))


def read_detector(path: Path) -> nn.Module:
    """A RetinaFace from a weights file, for evaluation of one that has no entry yet."""
    return load_detector(unwrap(read_checkpoint_file(path), path.name))


def face_free_pictures() -> dict[str, NDArray[np.uint8]]:
    """The ten pictures on which false alarms are counted."""
    pictures = read_pictures([picture_folder() / name for name in EVALUATION_PICTURES])
    return dict(zip(EVALUATION_PICTURES, pictures, strict=True))


def export_restorer(checkpoint: Path, target: Path) -> Exported:
    """The averaged weights in half precision, after a strict test load."""
    average = read_checkpoint(checkpoint).average
    half = {name: value.half() if value.is_floating_point() else value for name, value in average.items()}
    PreviewRestorer().load_state_dict(half)
    return _write(half, target)


def export_detector(checkpoint: Path, target: Path, *, sure: float = DETECTOR_SURE) -> Exported:
    """The averaged weights in single precision, with the published file's keys, after a strict test load.

    Scores are shifted so that what was ``sure`` in training is one half in use, where the pipeline's threshold lies.
    """
    average = _calibrated(read_checkpoint(checkpoint).average, sure)
    build("mobile0.25").load_state_dict(average)
    return _write(average, target)


def _calibrated(tensors: dict[str, Tensor], sure: float) -> dict[str, Tensor]:
    shifted = dict(tensors)
    for name, value in tensors.items():
        if name.startswith("ClassHead.") and name.endswith(".bias"):
            # Each anchor has two scores: background, face.
            shifted[name] = value.clone()
            shifted[name][1::2] -= math.log(sure / (1 - sure))
    return shifted


def _write(tensors: dict[str, Tensor], target: Path) -> Exported:
    """Writes the file from memory under one archive name, so that equal tensors give equal bytes."""
    held = io.BytesIO()
    torch.save({name: value.detach().contiguous().clone() for name, value in tensors.items()}, held)
    data = held.getvalue()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return Exported(path=target, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def with_steps(plan: Plan, *, steps: int | None, seed: int | None) -> Plan:
    """The plan with what the caller changed."""
    return replace(plan, steps=steps or plan.steps, seed=plan.seed if seed is None else seed)
