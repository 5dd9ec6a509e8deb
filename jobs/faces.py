"""Which faces a job is about: all, one by its place, or those that somebody chose by id or box.

One vocabulary in two spellings: JSON has a word or a list of ids and boxes (``["g5k2p", [410, 200, 520, 340]]``); where
only text fits (command line, form fields) the same list is written with commas (``g5k2p,410,200,520,340``). An id
begins with a letter, so that the two never read alike.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from jobs.errors import InvalidOption

Box = tuple[float, float, float, float]
#: A word of ``FACE_WORDS``, or the chosen ids and boxes.
FaceChoice = str | tuple[str | Box, ...]

FACE_WORDS = ("all", "center", "largest")
#: The form of an id, as ``pipeline.choice`` makes them (a test compares the two); without anchors, for JSON Schema too.
FACE_ID = r"[a-hjkmnp-tv-z][0-9a-hjkmnp-tv-z]{4}"
#: Most faces that one job may name: more than any group photo has, and far less than a request may hold.
MAX_CHOSEN = 1000
#: No picture is larger than this (px), nor reaches further out of its frame.
FARTHEST_PX = 1_000_000

_NUMBER = re.compile(r"-?\d+(\.\d*)?\Z")


def checked_choice(value: Any) -> FaceChoice:
    """The choice that a JSON value says, each face once.

    Raises:
        InvalidOption: neither a known word nor a list of ids and boxes.
    """
    if isinstance(value, str):
        if value in FACE_WORDS:
            return value
        raise _refused(f"faces must be {', '.join(FACE_WORDS)} or a list of ids and boxes, not {reprlib.repr(value)}")
    if not isinstance(value, list | tuple):
        raise _refused(f"faces has a value of the wrong type: {reprlib.repr(value)}")
    if not 1 <= len(value) <= MAX_CHOSEN:
        raise _refused(f"faces must name 1 to {MAX_CHOSEN} faces, not {len(value)}")
    return tuple(dict.fromkeys(_one(item, place) for place, item in enumerate(value)))


def choice_from_text(text: str) -> Any:
    """The JSON value that a text spells: a word, or ids and the four numbers of each box, in any order.

    Only taken apart here; ``checked_choice`` judges it.
    """
    tokens = [token for token in re.split(r"[\s,;]+", text) if token]
    if len(tokens) == 1 and not re.fullmatch(FACE_ID, tokens[0]):
        return tokens[0]
    found: list[Any] = []
    numbers: list[float] = []
    for token in tokens:
        if not _NUMBER.match(token):
            found += [*numbers, token]
            numbers = []
            continue
        numbers.append(float(token))
        if len(numbers) == 4:
            found.append(numbers)
            numbers = []
    return found + numbers


def choice_words(choice: FaceChoice) -> Any:
    """The choice as JSON words."""
    return choice if isinstance(choice, str) else [item if isinstance(item, str) else list(item) for item in choice]


def _one(item: Any, place: int) -> str | Box:
    if isinstance(item, str):
        if re.fullmatch(FACE_ID, item):
            return item
        raise _refused(f"{reprlib.repr(item)} is no face's id: those are five characters such as g5k2p", place)
    numbers = item if isinstance(item, list | tuple) else (item,)
    if len(numbers) != 4 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise _refused(f"{reprlib.repr(item)} is neither an id nor a box of four numbers x0, y0, x1, y1", place)
    # Also refuses NaN.
    if not all(abs(n) <= FARTHEST_PX for n in numbers):
        raise _refused(f"the box {reprlib.repr(item)} lies outside of any picture", place)
    x0, y0, x1, y1 = (float(n) for n in numbers)
    if x0 >= x1 or y0 >= y1:
        raise _refused(f"the box {reprlib.repr(item)} is empty: it is x0, y0, x1, y1 with x0 < x1 and y0 < y1", place)
    return x0, y0, x1, y1


def _refused(why: str, place: int | None = None) -> InvalidOption:
    return InvalidOption(why, pointer="/options/faces" if place is None else f"/options/faces/{place}")
