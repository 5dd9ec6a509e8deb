"""Whether a network's picture can be what was asked for; a plausible wrong picture is worse than none. Pure."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.types import FloatImage

#: An input whose values spread (standard deviation) by this shows something, which its result must show as well: half
#: precision is known for black or one-coloured pictures.
SHOWS_SOMETHING = 0.01

#: How far a result may be from its input at COMPARED_PX, on average over pixels and channels: restoring and enlarging
#: change detail, not where light and dark are. Half of a black-to-white change.
COMPARED_PX = 16
FURTHEST = 0.3


def fault_of(made: FloatImage, given: FloatImage, *, flat: float, scale: int = 1) -> str | None:
    """Why ``made`` cannot be ``given`` restored or enlarged; None = it can.

    Convention: ``given`` (H, W, 3) in [0, 1]; ``made`` should be (H * scale, W * scale, 3), not-a-number where the
    network's value was not finite; below ``flat`` (standard deviation) it shows nothing.
    """
    expected = (given.shape[0] * scale, given.shape[1] * scale, 3)
    if made.shape != expected:
        return f"the network gave {made.shape} where {expected} was expected"
    if not np.isfinite(made).all():
        return "the network gave values that are not finite"
    if float(made.std()) < flat and float(given.std()) >= SHOWS_SOMETHING:
        return "the network gave a flat picture"
    side = (COMPARED_PX, COMPARED_PX)
    before, after = (cv2.resize(picture, side, interpolation=cv2.INTER_AREA) for picture in (given, made))
    distance = float(np.abs(after - before).mean())
    if distance > FURTHEST:
        return f"the network's picture is {distance:.2f} away from its input; {FURTHEST} allowed"
    return None
