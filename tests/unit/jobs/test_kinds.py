"""A job that only finds faces takes the options that mean something to it, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import InvalidOption
from jobs.kinds import Kind, options_for
from jobs.options import JobOptions


def test_a_restoration_takes_every_option() -> None:
    assert options_for(Kind.RESTORE, {"scale": 3}) == JobOptions(scale=3.0)


def test_a_detection_makes_its_record_unless_told_otherwise() -> None:
    assert options_for(Kind.DETECT, {}) == JobOptions(outputs=("provenance",))
    assert options_for(Kind.DETECT, {"outputs": ["image"]}).outputs == ("image",)


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"scale": 3}, "/options/scale"),
        ({"model": "preview"}, "/options/model"),
        ({"strength": 0.5}, "/options/strength"),
        ({"aligned": True}, "/options/aligned"),
        ({"outputs": ["image", "mask"]}, "/options/outputs"),
        ({"outputs": ["faces"]}, "/options/outputs"),
        ({"colour": 1}, "/options/colour"),
        ({"min_score": 7}, "/options/min_score"),
    ],
)
def test_what_a_detection_cannot_honour_is_refused_by_name(words: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        options_for(Kind.DETECT, words)
    assert caught.value.pointer == pointer


def test_an_option_at_its_default_asks_for_nothing() -> None:
    said = JobOptions().to_mapping() | {"outputs": ["provenance"]}
    assert options_for(Kind.DETECT, said) == options_for(Kind.DETECT, {})
