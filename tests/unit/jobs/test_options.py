"""What no installation can honour is refused with the words, before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import InvalidOption
from jobs.options import JobOptions


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"model": "preview", "seed": 3}, "/options/seed"),
        ({"model": "restoreformer", "seed": 0}, "/options/seed"),
        ({"format": "jpeg", "bit_depth": "16"}, "/options/bit_depth"),
        ({"format": "webp", "bit_depth": 16}, "/options/bit_depth"),
        ({"background": "none", "denoise": 0.1}, "/options/denoise"),
    ],
)
def test_options_that_contradict_each_other_are_refused_by_name(words: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        JobOptions.from_mapping(words)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "words",
    [
        {"seed": 3},
        {"model": "gfpgan-1.4", "seed": 3},
        {"model": "preview", "passes": 2},
        {"bit_depth": "16"},
        {"format": "tiff", "bit_depth": "16"},
        {"denoise": 0.1},
    ],
)
def test_what_the_worker_alone_can_tell_is_left_to_it(words: dict[str, Any]) -> None:
    assert JobOptions.from_mapping(words).to_mapping().items() >= words.items()
