"""Faces by name: an id that says where a face is, and which of the found faces somebody meant. Pure.

An id must lead to the same face in the next run, whatever else that run does: other limits or scores, extra detection
passes, another detector or machine, a smaller copy of the photo. A face's number in the list of candidates does not:
one candidate more, and every later number names someone else, silently. So an id is the face's place, coarsely: a
letter for its size and two characters each for its centre, relative to the picture. Read back it is a box like one
that a person drew, and the face that lies there is meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipeline.errors import FaceNotFound

Box = tuple[float, float, float, float]  #: x0, y0, x1, y1 in px

#: Digits that nobody mistakes for each other. Source: Crockford's base 32.
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"

#: Steps across the picture's width, and down its height, that two digits tell apart: the centre of a face is known to a
#: twentieth of its size as long as it covers a fiftieth of the picture's side.
PLACES = len(DIGITS) ** 2

#: Letters of the size, from a face as large as the picture down; each step is a factor of the square root of 2. A
#: letter first, so that an id is never mistaken for a number.
SIZES = "".join(digit for digit in DIGITS if digit.isalpha())
STEPS_PER_OCTAVE = 2

_FACE_ID = re.compile(f"[{SIZES}][{DIGITS}]{{4}}")

#: A box means the face that overlaps it best, if by at least this (intersection over union). People draw boxes around
#: heads, hair and all: one with a margin of 40 % of the face's size on each axis, split as they like, still means it
#: (1 / 1.4² = 0.5), one of 80 % just does (0.31). Faces beside each other overlap each other's boxes far less.
MATCH_IOU = 0.3


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return _FACE_ID.fullmatch(text) is not None


def face_id(box: Box, *, width: int, height: int) -> str:
    """The id of the face in this box of a picture of ``width`` x ``height`` px."""
    x0, y0, x1, y1 = box
    part = max(x1 - x0, y1 - y0, 1e-9) / max(width, height)
    size = SIZES[min(len(SIZES) - 1, max(0, round(-STEPS_PER_OCTAVE * math.log2(part))))]
    # Pixel centres at integers: the picture reaches from -0.5 to width - 0.5.
    return size + _digits(((x0 + x1) / 2 + 0.5) / width) + _digits(((y0 + y1) / 2 + 0.5) / height)


def box_of(name: str, *, width: int, height: int) -> Box:
    """The square, in px, that an id names."""
    half = max(width, height) * 2 ** (-SIZES.index(name[0]) / STEPS_PER_OCTAVE) / 2
    x = _part(name[1:3]) * width - 0.5
    y = _part(name[3:5]) * height - 0.5
    return x - half, y - half, x + half, y + half


def best_match(box: Box, boxes: Sequence[Box]) -> int | None:
    """The position of the box that ``box`` means; None = there is no face at that place."""
    overlaps = [overlap(box, other) for other in boxes]
    best = max(range(len(boxes)), key=overlaps.__getitem__, default=None)
    return best if best is not None and overlaps[best] >= MATCH_IOU else None


def not_found(missing: Sequence[str | Box], there: Sequence[str]) -> FaceNotFound:
    """The error that names what was chosen in vain, and what could have been.

    An error, not a warning as for a picture without faces: somebody named this face, and a result without it
    would pass for done. It costs the detection only, and the words say how to go on.
    """
    names = ", ".join(one if isinstance(one, str) else f"[{', '.join(f'{n:g}' for n in one)}]" for one in missing)
    return FaceNotFound(f"no face is at {names}; " + (f"found were {', '.join(there)}" if there else "none was found"))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    both = shared(one, other)
    either = area(one) + area(other) - both
    return both / either if either > 0 else 0.0


def shared(one: Box, other: Box) -> float:
    """The area of what two boxes have in common."""
    return area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


def area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _digits(part: float) -> str:
    place = min(PLACES - 1, max(0, math.floor(part * PLACES)))
    return DIGITS[place // len(DIGITS)] + DIGITS[place % len(DIGITS)]


def _part(digits: str) -> float:
    return (DIGITS.index(digits[0]) * len(DIGITS) + DIGITS.index(digits[1]) + 0.5) / PLACES
