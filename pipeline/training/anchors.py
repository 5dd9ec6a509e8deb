"""How faces are assigned to the detector's anchors, and the loss over them.

Source: Liu et al., SSD (arXiv 1512.02325) for matching, encoding and hard negatives; Deng et al., RetinaFace
(arXiv 1905.00641) for the landmark term. Anchors and their decoding are ``pipeline.arch.retinaface``'s.

Convention: boxes are (x0, y0, x1, y1) and anchors (cx, cy, w, h), all in pixels of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.arch.retinaface import VARIANCES

#: Overlap (IoU) from which an anchor is a face's, and below which it is background; between them it does not count.
POSITIVE_IOU, NEGATIVE_IOU = 0.38, 0.3
#: Hard negatives per positive, and the positives that a picture counts for at least.
NEGATIVES_PER_POSITIVE, LEAST_POSITIVES = 7, 3
#: Weights of the box and the landmark terms. Source: RetinaFace's published training code for box; landmarks as class.
BOX_WEIGHT, LANDMARK_WEIGHT = 2.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """The faces of one picture."""

    boxes: Tensor  #: (F, 4) faces to find
    landmarks: Tensor  #: (F, 10) their x0, y0, ... x4, y4
    ignored: Tensor  #: (I, 4) regions that are neither face nor background


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """What each of the A anchors should answer."""

    label: Tensor  #: (A,) 1 face, 0 background, -1 does not count
    box: Tensor  #: (A, 4) encoded
    landmarks: Tensor  #: (A, 10) encoded


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """(N, M) intersection over union of corner boxes."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    other_area = (others[:, 2:] - others[:, :2]).prod(-1)
    return shared / (area[:, None] + other_area[None, :] - shared).clamp_min(1e-6)


def corners(centred: Tensor) -> Tensor:
    """Corner boxes of (cx, cy, w, h)."""
    half = centred[:, 2:] / 2
    return torch.cat([centred[:, :2] - half, centred[:, :2] + half], -1)


def assign(targets: Targets, priors: Tensor) -> Assignment:
    """Each face gets every anchor that overlaps it enough, and its best anchor in any case."""
    count = len(priors)
    label = torch.zeros(count, dtype=torch.long)
    shapes = corners(priors)
    if len(targets.ignored):
        label[overlap(shapes, targets.ignored).amax(1) >= NEGATIVE_IOU] = -1
    if not len(targets.boxes):
        return Assignment(label=label, box=torch.zeros(count, 4), landmarks=torch.zeros(count, 10))
    shared = overlap(shapes, targets.boxes)
    best, owner = shared.max(1)
    label[best >= NEGATIVE_IOU] = -1
    label[best >= POSITIVE_IOU] = 1
    favourite = shared.argmax(0)
    label[favourite] = 1
    owner[favourite] = torch.arange(len(targets.boxes))
    return Assignment(
        label=label,
        box=encode_boxes(targets.boxes[owner], priors),
        landmarks=encode_points(targets.landmarks[owner], priors),
    )


def encode_boxes(boxes: Tensor, priors: Tensor) -> Tensor:
    """Offsets of (A, 4) corner boxes from their anchors; ``retinaface.decode_boxes`` turns them back."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - priors[:, :2]) / (VARIANCES[0] * priors[:, 2:])
    size = torch.log((boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3) / priors[:, 2:]) / VARIANCES[1]
    return torch.cat([centre, size], -1)


def encode_points(points: Tensor, priors: Tensor) -> Tensor:
    """Offsets of (A, 10) points from their anchors' centres; ``retinaface.decode_landmarks`` turns them back."""
    moved = points.reshape(-1, 5, 2) - priors[:, None, :2]
    return (moved / (VARIANCES[0] * priors[:, None, 2:])).reshape(-1, 10)


def multibox_loss(
    output: tuple[Tensor, Tensor, Tensor], assignments: list[Assignment], *, landmark_weight: float = LANDMARK_WEIGHT
) -> tuple[Tensor, dict[str, float]]:
    """Class, box and landmark loss of a batch: (N, A, 4), (N, A, 2) logits and (N, A, 10) against N assignments.

    Negatives are the hardest of the whole batch, not of each picture: a picture without faces teaches too.
    """
    boxes, logits, landmarks = output
    label = torch.stack([a.label for a in assignments])
    face = label == 1
    count = max(1, int(face.sum()))
    each = functional.cross_entropy(logits.flatten(0, 1), label.clamp_min(0).flatten(), reduction="none").view_as(label)
    hard = torch.where(label == 0, each, torch.zeros_like(each)).flatten()
    wanted = NEGATIVES_PER_POSITIVE * max(count, LEAST_POSITIVES * len(assignments))
    negative = hard.topk(min(wanted, hard.numel())).values.sum()
    classes = (each[face].sum() + negative) / count
    place = torch.stack([a.box for a in assignments])[face]
    points = torch.stack([a.landmarks for a in assignments])[face]
    box = functional.smooth_l1_loss(boxes[face], place, reduction="sum") / count
    landmark = functional.smooth_l1_loss(landmarks[face], points, reduction="sum") / count
    figures = {"class": float(classes.detach()), "box": float(box.detach()), "landmark": float(landmark.detach())}
    return classes + BOX_WEIGHT * box + landmark_weight * landmark, figures
