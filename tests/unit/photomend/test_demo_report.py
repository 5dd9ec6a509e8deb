"""The demo's words about faces."""

from __future__ import annotations

import pytest

from photomend.demo.report import _count, _timings


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([], "0 faces found"),
        (["restored"], "1 face found"),
        (["restored", "skipped", "failed"], "3 faces found"),
        (["restored", "rejected", "restored"], "2 faces found, 1 more rejected"),
    ],
)
def test_a_rejected_candidate_is_not_counted_as_a_face(statuses: list[str], words: str) -> None:
    assert _count([{"status": status} for status in statuses]) == words


def test_the_device_s_share_of_stages_is_no_stage() -> None:
    table = _timings({"queue_s": 0.1, "detect_s": 0.2, "gpu_s": 0.2, "gpu_upsample_s": 0.0, "megapixels": 2.0})

    assert list(table.columns[0].cells) == ["queue", "detect"]
