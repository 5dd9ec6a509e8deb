"""Which faces: words, ids and boxes, in JSON and in text."""

from __future__ import annotations

import math
from typing import Any

import pytest

from jobs.errors import InvalidOption
from jobs.faces import FACE_WORDS, MAX_CHOSEN, checked_choice, choice_from_text, choice_words
from jobs.options import JobOptions
from pipeline.choice import is_id

BOX = (10.0, 20.0, 110.0, 140.5)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("all", "all"),
        (" largest ", "largest"),
        ("g5k2p", ("g5k2p",)),
        ("g5k2p,k7m1q", ("g5k2p", "k7m1q")),
        ("10,20,110,140.5", (BOX,)),
        ("10,20,110,140.5;1,2,3,4", (BOX, (1.0, 2.0, 3.0, 4.0))),
        ("g5k2p, 10,20,110,140.5 ,k7m1q", ("g5k2p", BOX, "k7m1q")),
        ("-5,-6,30,40", ((-5.0, -6.0, 30.0, 40.0),)),
        ("g5k2p,g5k2p", ("g5k2p",)),
    ],
)
def test_a_text_and_its_json_say_the_same(text: str, choice: Any) -> None:
    said = choice_from_text(text)
    assert checked_choice(said) == choice
    assert checked_choice(choice_words(checked_choice(said))) == choice


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("biggest", "/options/faces"),
        ("g5k2p", "/options/faces"),
        (3, "/options/faces"),
        (None, "/options/faces"),
        ([], "/options/faces"),
        (["g5k2p"] * (MAX_CHOSEN + 1), "/options/faces"),
        (["all"], "/options/faces/0"),
        (["g5k2p", "G5K2P"], "/options/faces/1"),
        (["g5k2p\n"], "/options/faces/0"),
        ([3], "/options/faces/0"),
        ([[1, 2, 3]], "/options/faces/0"),
        ([[1, 2, 3, "4"]], "/options/faces/0"),
        ([[1, 2, 3, True]], "/options/faces/0"),
        ([[5, 5, 1, 9]], "/options/faces/0"),
        ([[0, 0, math.inf, 9]], "/options/faces/0"),
        ([[0, 0, 10**400, 9]], "/options/faces/0"),
        ([[0, 0, math.nan, 9]], "/options/faces/0"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_names_no_face_is_refused_and_pointed_at(value: Any, pointer: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        JobOptions.from_mapping({"faces": value})
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("text", ["2", "1,2,3", "g5k2p,7", "everyone", "x,y", "1,2,3,4,5", "l5k2p"])
def test_a_text_that_is_half_understood_is_not_taken(text: str) -> None:
    with pytest.raises(InvalidOption):
        checked_choice(choice_from_text(text))


def test_options_keep_the_choice_in_any_spelling_and_give_it_back_as_json() -> None:
    options = JobOptions.from_mapping({"faces": ["g5k2p", [10, 20, 110, 140.5]]})
    assert options.faces == ("g5k2p", BOX)
    assert options.to_mapping()["faces"] == ["g5k2p", list(BOX)]
    assert JobOptions.from_mapping(options.to_mapping()) == options
    with pytest.raises(InvalidOption):
        JobOptions(faces=("no id",))


def test_no_word_looks_like_an_id() -> None:
    assert not any(map(is_id, FACE_WORDS))
