"""The training loop: AdamW, warm-up, plateau, decay, an average of the weights, checkpoints that resume exactly.

The learning rate is constant between warm-up and decay. A run may therefore be resumed with another number of steps
while it is on the plateau, and still be the run that this number gives from the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint

#: Averaging of the weights: half-life of about 350 steps once the run is older than that.
AVERAGE_DECAY = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What makes a run reproducible, besides its data."""

    steps: int
    seed: int = 0
    rate: float = 1e-3  #: peak learning rate
    warmup: int = 100  #: steps
    decay_from: float = 0.65  #: fraction of the steps after which the rate falls to zero as a cosine
    weight_decay: float = 1e-4
    gradient_norm: float = 1.0  #: longer gradients are shortened to it

    def rate_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0)."""
        rise = min(1.0, (step + 1) / self.warmup)
        return self.rate * rise * 0.5 * (1 + math.cos(math.pi * self.late(step)))

    def late(self, step: int) -> float:
        """0 on the plateau, rising to 1 over the decay."""
        start = self.decay_from * self.steps
        return max(0.0, (step - start) / max(1.0, self.steps - start))


class Task(Protocol):
    """What is trained."""

    model: nn.Module

    def loss(self, step: int, plan: Plan) -> tuple[Tensor, dict[str, float]]:
        """The loss of step ``step`` and the figures to show; reads no state but the model's."""
        ...


class Told(Protocol):
    """Told after every step."""

    def __call__(self, step: int, figures: dict[str, float]) -> None: ...


def train(
    task: Task, plan: Plan, *, checkpoint: Path, resume: bool, every: int, told: Told, until: int | None = None
) -> nn.Module:
    """The model with averaged weights after ``plan.steps`` (or ``until``) steps; a checkpoint every ``every`` steps."""
    optimizer = torch.optim.AdamW(
        task.model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    average = torch.optim.swa_utils.AveragedModel(task.model, multi_avg_fn=_averaging(), use_buffers=True)
    first = 0
    if resume:
        saved = read_checkpoint(checkpoint)
        task.model.load_state_dict(saved.model)
        average.module.load_state_dict(saved.average)
        average.n_averaged.fill_(saved.step)
        optimizer.load_state_dict(saved.optimizer)
        first = saved.step
    last = plan.steps if until is None else min(until, plan.steps)

    def once(step: int) -> dict[str, float]:
        figures = _step(task, plan, step, optimizer)
        average.update_parameters(task.model)
        return figures

    def save(step: int) -> None:
        state = Checkpoint(
            step=step,
            seed=plan.seed,
            model=task.model.state_dict(),
            average=average.module.state_dict(),
            optimizer=optimizer.state_dict(),
        )
        write_checkpoint(checkpoint, state)

    advance(first, last, once=once, save=save, every=every, told=told)
    trained: nn.Module = average.module
    return trained


def advance(
    first: int,
    last: int,
    *,
    once: Callable[[int], dict[str, float]],
    save: Callable[[int], None],
    every: int,
    told: Told,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Do steps ``first`` up to ``last``, tell of each, save every ``every`` steps and at the end; the steps done.

    ``stop`` is asked after each step: a run that is to end early is saved where it is.
    """
    for step in range(first, last):
        figures = once(step)
        done = step + 1
        told(done, figures)
        asked = stop()
        if done % every == 0 or done == last or asked:
            save(done)
        if asked:
            return done
    return max(first, last)


def _step(task: Task, plan: Plan, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = plan.rate_at(step)
    task.model.train()
    loss, figures = task.loss(step, plan)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(task.model.parameters(), plan.gradient_norm, error_if_nonfinite=True)
    optimizer.step()
    return {"loss": float(loss.detach()), **figures, "norm": float(norm), "rate": plan.rate_at(step)}


def _averaging() -> Callable[..., None]:
    """Exponential averaging that forgets the start: young runs average over their last tenth."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        decay = min(AVERAGE_DECAY, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    return torch.no_grad()(update)
