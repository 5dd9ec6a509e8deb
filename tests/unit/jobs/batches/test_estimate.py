"""What a sample says of all, and how sure that is."""

from __future__ import annotations

import json
import random
import statistics

import pytest

from jobs.batches.estimate import Estimate, Example, Refusal, extrapolated


def test_a_total_is_the_mean_of_the_sample_times_all_of_them() -> None:
    found = extrapolated([10.0, 20.0, 30.0], population=300)
    assert found is not None
    assert (found.mean, found.smallest, found.largest, found.total) == (20.0, 10.0, 30.0, 6000.0)
    assert extrapolated([], population=10) is None
    alone = extrapolated([5.0], population=10)
    assert alone is not None
    assert (alone.total, alone.margin) == (50.0, None)


def test_a_sample_of_everything_leaves_nothing_to_chance() -> None:
    found = extrapolated([1.0, 2.0, 3.0], population=3)
    assert found is not None
    assert (found.total, found.margin) == (6.0, 0.0)


def test_nineteen_of_twenty_samples_hold_the_truth_within_their_margin() -> None:
    """Of sizes as scans have them: most alike, some ten times as large."""
    chance = random.Random(7)
    sizes = [chance.choice((24.0, 25.0, 26.0, 240.0)) for _ in range(5000)]
    truth, held = sum(sizes), 0
    for _ in range(400):
        found = extrapolated(chance.sample(sizes, 200), population=len(sizes))
        assert found is not None
        held += abs(found.total - truth) <= (found.margin or 0)
    assert statistics.fmean([held / 400]) == pytest.approx(0.95, abs=0.03)


def test_an_estimate_is_kept_as_it_is() -> None:
    refused = (Refusal(code="bad_row", scope="lines", count=2, examples=(Example(number=3, source="x", detail="y"),)),)
    full = Estimate(
        lines=7, formats={"image/png": 2}, megapixels=extrapolated([1.0, 2.0], population=7), refused=refused,
        gpu_s=3.5, notes=("a",),
    )  # fmt: skip
    for one in (full, Estimate(lines=0)):
        assert Estimate.from_json(json.loads(json.dumps(one.to_json()))) == one
