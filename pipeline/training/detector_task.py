"""What the detector learns: faces in composed scenes, at three picture sizes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import default_rng
from torch import Tensor

from pipeline.arch.retinaface import MEAN_BGR, anchors, build
from pipeline.training.anchors import LANDMARK_WEIGHT, assign, multibox_loss
from pipeline.training.loop import Plan
from pipeline.training.losses import channels_last
from pipeline.training.scenes import Material, compose
from pipeline.training.teacher import Features, Teacher, features_missed
from pipeline.types import FloatImage

#: (side in px, pictures per step): the same work each; large ones hold the largest faces.
SHAPES = ((320, 8), (448, 4), (640, 2))
#: From this step on scenes are hard: first what a face is, then what is none. A tuned detector knows both.
HARD_FROM = 1400
#: How often each shape is drawn.
SHAPE_SHARES = (0.6, 0.2, 0.2)
#: Weight of the teacher's features beside the labels; it ends with the learning rate.
TEACHER_WEIGHT = 4.0
#: While a tuned detector's rate falls, its landmarks come to weigh so many times as much, from this part of the fall
#: on: first what a face is, then where its eyes are.
LANDMARKS_IN_THE_END, LANDMARKS_FROM = 5.0, 0.2


class DetectorTask:
    """Trains facexlib's RetinaFace ``mobile0.25`` from its random start, or tunes the weights ``start``.

    ``teacher``: the same network with weights to learn from; it looks at each picture before that grew old.
    """

    def __init__(
        self,
        material: Material,
        *,
        seed: int,
        start: dict[str, Tensor] | None = None,
        teacher: Teacher | None = None,
        shapes: tuple[tuple[int, int], ...] = SHAPES,
    ) -> None:
        torch.manual_seed(seed)
        self.model = channels_last(build("mobile0.25"))
        if start is not None:
            self.model.load_state_dict(start)
        self._tuned = start is not None
        self._hard_from = 0 if self._tuned else HARD_FROM
        self.model.phase = "train"  # type: ignore[assignment]  # scores before the softmax
        self._material, self._shapes, self._teacher = material, shapes, teacher
        self._features = None if teacher is None else Features(self.model)

    def loss(self, step: int, plan: Plan) -> tuple[Tensor, dict[str, float]]:
        rng = default_rng([plan.seed, step])
        side, size = self._shapes[int(rng.choice(len(SHAPES), p=SHAPE_SHARES))]
        scenes = [
            compose(self._material, side=side, rng=default_rng([plan.seed, step, place]), hard=step >= self._hard_from)
            for place in range(size)
        ]
        priors = anchors(side, side)
        output = self.model(network_input([s.image for s in scenes]))
        rise = max(0.0, plan.late(step) - LANDMARKS_FROM) / (1 - LANDMARKS_FROM) if self._tuned else 0.0
        loss, figures = multibox_loss(
            output,
            [assign(s.targets, priors) for s in scenes],
            landmark_weight=LANDMARK_WEIGHT * (1 + (LANDMARKS_IN_THE_END - 1) * rise),
        )
        if self._teacher is not None and self._features is not None:
            wanted = self._teacher.features(network_input([s.clean for s in scenes]))
            missed = features_missed(self._features.take(), wanted)
            figures["teacher"] = float(missed.detach())
            loss = loss + TEACHER_WEIGHT * (1 - plan.late(step)) * missed
        return loss, figures


def network_input(images: list[FloatImage]) -> Tensor:
    """(N, 3, H, W) BGR grey levels less their mean, from N pictures (H, W, 3) RGB in [0, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[:, [2, 1, 0]] * 255
    shifted = stacked - torch.tensor(MEAN_BGR)[None, :, None, None]
    return shifted.contiguous(memory_format=torch.channels_last)
