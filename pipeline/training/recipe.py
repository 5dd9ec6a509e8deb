"""The committed runs: what is trained on what, for how long, and how the shipped files are made of it.

Data folder: ``faces/train`` and ``faces/val`` (aligned 512 x 512 pictures) and ``weights`` with the two files that
help training: the detector that labels, and the VGG layers of the perceptual loss.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.arch.preview import PreviewRestorer
from pipeline.arch.retinaface import build
from pipeline.arch.upsamplers import build_srvgg
from pipeline.training.checkpoints import read_checkpoint
from pipeline.training.detector_task import DetectorTask
from pipeline.training.faces import Faces
from pipeline.training.labels import label_faces, load_detector, read_labels, write_labels
from pipeline.training.loop import Plan, Task, Told, train
from pipeline.training.losses import VggDistance
from pipeline.training.restorer_task import RestorerTask
from pipeline.training.scenes import Material
from pipeline.training.teacher import load_teacher
from pipeline.training.textures import EVALUATION_PICTURES, TRAINING_PICTURES, picture_folder, read_pictures
from pipeline.training.upsampler_task import CONVOLUTIONS, FEATURES, SCALE, UpsamplerTask
from pipeline.weights import read_checkpoint_file, unwrap

#: The runs from random weights.
RESTORER_PLAN = Plan(steps=1450, seed=0, rate=6e-4, gradient_norm=0.1)
DETECTOR_PLAN = Plan(steps=2660, seed=0, rate=2e-3, decay_from=0.72)
UPSAMPLER_PLAN = Plan(steps=1600, seed=0, rate=2e-3, warmup=50, decay_from=0.6, gradient_norm=0.5)
#: The runs from weights that there are (``init``).
RESTORER_TUNING = Plan(steps=3000, seed=1, rate=3e-4, decay_from=0.5, gradient_norm=0.1)
DETECTOR_TUNING = Plan(steps=4500, seed=1, rate=1e-3, decay_from=0.4)
#: The training score from which the shipped detector counts a face.
DETECTOR_SURE = 0.96
#: Of a tuned detector's layers with the largest anchors (256 and 512 px), this part stays what they were tuned from.
#: They saw few faces, and moved landmarks by a sixth of the eyes' distance from one size of a picture to another; so it
#: is a fifteenth. Source: Wortsman et al., Robust fine-tuning of zero-shot models (arXiv 2109.01903); model card.
LARGE_FACES, KEPT = ("ssh3.", "ClassHead.2.", "BboxHead.2.", "LandmarkHead.2."), 0.05
#: Steps between checkpoints.
CHECKPOINT_EVERY = 50
#: Names inside the output folder.
CHECKPOINT, LABELS = "checkpoint.pth", "labels.npz"
#: Names of the shipped files.
RESTORER_FILE, DETECTOR_FILE, UPSAMPLER_FILE = "restorer.pth", "detector.pth", "upsampler-x2.pth"
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
    bfloat16: bool = False  #: compute in it where that is done often (the restorer); weights and losses stay float32


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
    vgg = load_vgg(run.data / "weights" / VGG)
    task = RestorerTask(faces, seed=run.plan.seed, vgg=vgg, start=_start(run), bfloat16=run.bfloat16)
    return _train(task, run, told)


def train_detector(run: Run, *, told: Told) -> nn.Module:
    """Trains the detector; the real one makes the labels (on the first start, kept beside the checkpoint) and teaches.

    Raises:
        PipelineError: faces, the labelling weights or the checkpoint are missing or damaged.
    """
    faces = Faces(run.data / "faces" / "train")
    kept = run.out / LABELS
    real = read_checkpoint_file(run.data / "weights" / LABELLER)
    if not kept.is_file():
        labels, _ = label_faces(faces, load_detector(unwrap(real, LABELLER)))
        write_labels(kept, faces, labels)
    material = Material(faces=faces, labels=read_labels(kept, faces), pictures=training_pictures())
    start = _start(run)
    if start is not None:
        start = _calibrated(start, 1 - DETECTOR_SURE)  # a shipped file's scores, as training had them
    task = DetectorTask(material, seed=run.plan.seed, start=start, teacher=load_teacher(unwrap(real, LABELLER)))
    return _train(task, run, told)


def train_upsampler(run: Run, *, told: Told) -> nn.Module:
    """Trains the background upsampler; the checkpoint is in the output folder.

    Raises:
        PipelineError: faces or the checkpoint are missing or damaged.
    """
    faces = Faces(run.data / "faces" / "train")
    return _train(UpsamplerTask(faces, training_pictures(), seed=run.plan.seed), run, told)


def _start(run: Run) -> dict[str, Tensor] | None:
    return None if run.init is None else unwrap(read_checkpoint_file(run.init), run.init.name)


def _train(task: Task, run: Run, told: Told) -> nn.Module:
    return train(
        task,
        run.plan,
        checkpoint=run.out / CHECKPOINT,
        resume=run.resume,
        every=CHECKPOINT_EVERY,
        told=told,
    )


def training_pictures() -> tuple[NDArray[np.uint8], ...]:
    """The face-free pictures that training may use."""
    return read_pictures([picture_folder() / name for name in TRAINING_PICTURES])


def load_vgg(path: Path) -> VggDistance:
    """The perceptual distance from its published layers."""
    return VggDistance(unwrap(read_checkpoint_file(path), path.name))


def read_detector(path: Path) -> nn.Module:
    """A RetinaFace from a weights file, for evaluation of one that has no entry yet."""
    return load_detector(unwrap(read_checkpoint_file(path), path.name))


def face_free_pictures() -> dict[str, NDArray[np.uint8]]:
    """The ten pictures on which false alarms are counted."""
    pictures = read_pictures([picture_folder() / name for name in EVALUATION_PICTURES])
    return dict(zip(EVALUATION_PICTURES, pictures, strict=True))


def export_restorer(checkpoint: Path, target: Path) -> Exported:
    """The averaged weights in half precision, without their critic, after a strict test load."""
    half = _half(_own(read_checkpoint(checkpoint).average))
    PreviewRestorer().load_state_dict(half)
    return _write(half, target)


def export_upsampler(checkpoint: Path, target: Path) -> Exported:
    """The averaged weights in half precision, after a strict test load."""
    half = _half(read_checkpoint(checkpoint).average)
    build_srvgg(scale=SCALE, features=FEATURES, convolutions=CONVOLUTIONS).load_state_dict(half)
    return _write(half, target)


def _own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The restorer's tensors of a run that had a critic too."""
    prefix = "restorer."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)} or tensors


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}


def export_detector(
    checkpoint: Path, target: Path, *, sure: float = DETECTOR_SURE, init: Path | None = None
) -> Exported:
    """The averaged weights in single precision, with the published file's keys, after a strict test load.

    Scores are shifted so that what was ``sure`` in training is one half in use, where the pipeline's threshold lies.
    ``init``: the shipped file that the run was tuned from, of which large faces' layers keep a part.

    Raises:
        WeightsError: ``init`` is missing, damaged or of another network.
    """
    average = _calibrated(read_checkpoint(checkpoint).average, sure)
    if init is not None:
        before = unwrap(read_checkpoint_file(init), init.name)
        build("mobile0.25").load_state_dict(before)
        for name in [name for name in average if name.startswith(LARGE_FACES) and average[name].is_floating_point()]:
            average[name] = average[name].lerp(before[name], KEPT)
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
