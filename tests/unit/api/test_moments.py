"""Times of RFC 3339, as callers write them."""

from __future__ import annotations

import pytest

from api.moments import moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00.25Z", 1769860800.25),
        ("2026-01-31T12:00:00.1234567891+01:00", 1769857200.1234567),
        ("2026-01-31t08:30:00-03:30", 1769860800),
        ("2026-01-31 12:00:00z", 1769860800),
        ("2016-12-31T23:59:60Z", 1483228800),
        ("0000-12-31T00:00:00Z", -62135596800),
        ("9999-12-31T23:59:59Z", 253402300799),
    ],
)
def test_a_time_is_read_in_each_spelling_of_the_standard(text: str, seconds: float) -> None:
    assert moment(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31T12:00:00", "2026-01-31T12:00Z", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z",
     "2026-01-31T12:00:00Z\n", "٢٠٢٦-01-31T12:00:00Z", "2026-01-31T12:00:00 01:00", "1769860800"],
)  # fmt: skip
def test_what_is_no_time_of_the_standard_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="2026-01-31T12:00:00Z"):
        moment(text)
