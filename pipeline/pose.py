"""How far a face is turned to the side, from its five landmarks. Pure.

Our own approximation: seen from afar, a head that turns by an angle moves its nose sideways by the nose's protrusion
times the angle's sine, while the distance of its eyes shrinks with the cosine; so their ratio is the tangent. Measured
against the line from the eyes' middle to the mouth's, it does not depend on how the head is tilted or how large it is.

Measured on the canonical face below, turned by up to 60 degrees, with any tilt: off by at most 2 degrees from afar and
5 from one metre while the head nods by up to 15 degrees, by at most 4 and 7 with 30 (tests/unit/pipeline/test_pose.py).
Noses of people stand out more or less by about 15 %, which is 4 degrees at 30.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: How far the nose's tip stands out of the plane of eyes and mouth, in halves of the eyes' distance.
#: Source: MediaPipe's canonical_face_model.obj (Apache-2.0): eyes' corners 33, 133, 263, 362, nose 1 and 4, mouth's
#: corners 61, 291.
NOSE_PROTRUSION = 1.16


def yaw_deg(landmarks: NDArray[np.float32]) -> float | None:
    """Degrees, -90 to 90, to a tenth: 0 = frontal, positive = turned to the right edge of the (upright) face's picture.

    None where the landmarks are no face's.

    Convention: ``landmarks`` (5, 2): left eye, right eye, nose, left and right mouth corner, as seen.
    """
    points = landmarks.astype(np.float64)
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down = mouth - eyes
    height = float(np.hypot(*down))
    if not np.isfinite(points).all() or height == 0:
        return None
    right = np.array([down[1], -down[0]]) / height
    half_eyes = float((right_eye - left_eye) @ right) / 2
    return round(math.degrees(math.atan2(float((nose - eyes) @ right), NOSE_PROTRUSION * half_eyes)), 1)
