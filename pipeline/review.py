"""Which faces a person should look at, and why. Pure.

Flags are hints for reviewers, not verdicts: nothing is changed or left out because of one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.picture import bands
from pipeline.types import FloatImage, Mask, ReviewFlag

#: Below this similarity the restored face may look like somebody else. GFPGAN's paper (table 1, CelebA-Test) has angles
#: of 48 degrees between degraded faces and their originals and of 35 between restored and original ones by ArcFace;
#: a restored face more than 60 degrees (cosine 0.5) away from what it was made of strayed further than degradation
#: explains. Same-person pairs of different photos lie at 0.25 and above (InsightFace_Pytorch's threshold of 1.5).
LOW_IDENTITY = 0.5

#: Beyond this the restorer has seen few faces: FFHQ, which GFPGAN was trained on, is of people who look at the camera.
NON_FRONTAL_DEG = 35.0

#: Faces enlarged by more than this are made up rather than restored: GFPGAN was trained to undo eight-fold reduction
#: (its train_gfpgan_v1.yml, downsample_range 0.8 to 8).
TRAINED_ENLARGEMENT = 8.0

#: How far the mean colour of a face may move, in CIE Lab's a and b, before people see a cast beside neck and hands.
#: Three times the difference that is just noticed side by side (2.3). The preview pack moves it by 0.4 at most on the
#: development photos, since it is trained to keep colours and the seam is matched.
COLOUR_DRIFT = 7.0


def of_place(*, yaw_deg: float | None, enlarged: float | None) -> tuple[ReviewFlag, ...]:
    """What can be said before a face is restored.

    Args:
        yaw_deg: how far it is turned to the side.
        enlarged: by how much it is enlarged for the restorer; None = it has no alignment.
    """
    flags = []
    if yaw_deg is not None and abs(yaw_deg) > NON_FRONTAL_DEG:
        reason = f"it is turned by about {abs(yaw_deg):.0f} degrees; restorers know faces up to {NON_FRONTAL_DEG:.0f}"
        flags.append(ReviewFlag(code="non_frontal", reason=reason))
    if enlarged is not None and enlarged > TRAINED_ENLARGEMENT:
        reason = f"it is enlarged {enlarged:.1f} times; restorers are trained up to {TRAINED_ENLARGEMENT:.0f}"
        flags.append(ReviewFlag(code="tiny", reason=reason))
    return tuple(flags)


def of_result(*, identity: float | None, colour_drift: float) -> tuple[ReviewFlag, ...]:
    """What can be said of a restored face.

    Args:
        identity: similarity to the original; None = not compared.
        colour_drift: see ``colour_drift``.
    """
    flags = []
    if identity is not None and identity < LOW_IDENTITY:
        reason = f"its similarity to the original is {identity:.2f}, below {LOW_IDENTITY:g}"
        flags.append(ReviewFlag(code="identity", reason=reason))
    if colour_drift > COLOUR_DRIFT:
        reason = f"its colour moved by {colour_drift:.1f} in Lab's a and b, more than {COLOUR_DRIFT:g}"
        flags.append(ReviewFlag(code="colour", reason=reason))
    return tuple(flags)


def colour_drift(before: FloatImage, after: FloatImage, mask: Mask) -> float:
    """How far a face's mean colour moved, under its mask, in CIE Lab's a and b (lightness apart).

    Convention: pictures (H, W, 3) float32 sRGB in [0, 1], mask (H, W) in [0, 1].
    """
    means = [_mean(image, mask).astype(np.float32).reshape(1, 1, 3) for image in (before, after)]
    (_, a0, b0), (_, a1, b1) = (cv2.cvtColor(mean, cv2.COLOR_RGB2LAB).reshape(3) for mean in means)
    return float(np.hypot(a1 - a0, b1 - b0))


def _mean(image: FloatImage, mask: Mask) -> NDArray[np.float64]:
    """(3,) under the mask. By bands, since all of it in double precision is the largest that a face would need."""
    sums = sum(np.tensordot(mask[rows].astype(np.float64), image[rows], axes=2) for rows in bands(len(mask)))
    return np.asarray(sums / max(float(mask.sum()), 1e-9))
