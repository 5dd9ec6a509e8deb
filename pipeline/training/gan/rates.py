"""The learning rate as a function of the step, so that a resumed run needs no scheduler's state.

Source of the schedules: basicsr's MultiStepRestartLR and CosineAnnealingRestartLR, which the seed project's options
name; tested against both.
"""

from __future__ import annotations

import math
from itertools import accumulate

from pipeline.training.gan.options import Rates


def rate_at(step: int, start: float, plan: Rates) -> float:
    """The rate of step ``step`` (from 0) of a network whose first rate is ``start``."""
    if step + 1 < plan.warmup:
        return start * (step + 1) / plan.warmup
    return _cosine(step, start, plan) if plan.periods else _stairs(step, start, plan)


def _stairs(step: int, start: float, plan: Rates) -> float:
    """Times gamma at each milestone; at a restart as at the start, times its weight."""
    weights = plan.restart_weights or (1.0,) * len(plan.restarts)
    since, rate = -1, start
    for restart, weight in zip(plan.restarts, weights, strict=True):
        if restart <= step:
            since, rate = restart, start * weight
    passed = sum(1 for milestone in plan.milestones if since < milestone <= step)
    return rate * plan.gamma**passed


def _cosine(step: int, start: float, plan: Rates) -> float:
    """Half a cosine down to ``least`` in each period; after the last one it stays there."""
    weights = plan.restart_weights or (1.0,) * len(plan.periods)
    ends = list(accumulate(plan.periods))
    at = next((i for i, end in enumerate(ends) if step <= end), len(ends) - 1)
    began = 0 if at == 0 else ends[at - 1]
    share = min(1.0, (step - began) / plan.periods[at])
    return plan.least + weights[at] * 0.5 * (start - plan.least) * (1 + math.cos(math.pi * share))
