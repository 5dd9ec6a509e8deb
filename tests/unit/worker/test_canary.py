"""A device that computes wrongly is told of as such; one that fails is not taken for anything else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jobs.checks import Check, Verdict
from pipeline.engines.choice import Engines
from pipeline.engines.port import REFERENCE
from pipeline.shelf import PREVIEW_MODEL, Shelf
from pipeline.weights import WeightStore
from worker import canary


@pytest.fixture
def found(tmp_path: Any) -> Any:
    """What the canary says of the preview pack's restorer on a device of this kind."""
    store = WeightStore(tmp_path, allow_preview=True)

    def look(kind: str = "cpu") -> list[Check]:
        shelf = Shelf(store, torch.device("cpu"))
        shelf.device = torch.device(kind)
        return list(canary._ways(shelf, store, Engines(torch.device("cpu"), reduced=None), PREVIEW_MODEL))

    return look


@pytest.mark.parametrize(
    ("agrees_db", "verdict", "said"),
    [
        (float("inf"), Verdict.OK, "exactly"),
        (90.0, Verdict.OK, "by 90 dB, 80 are needed"),
        (31.0, Verdict.FAILED, "by 31 dB, 80 are needed"),
        (float("-inf"), Verdict.FAILED, "by -inf dB"),
    ],
)
def test_each_way_must_agree_with_the_reference(
    found: Any, monkeypatch: pytest.MonkeyPatch, agrees_db: float, verdict: Verdict, said: str
) -> None:
    monkeypatch.setattr(canary, "fresh", lambda *_: iter([(REFERENCE, agrees_db, 80.0)]))
    way, fitness = found()
    assert (way.name, way.verdict) == ("canary.preview", verdict)
    assert said in way.said
    assert bool(way.advice) is (verdict is Verdict.FAILED)
    assert fitness.verdict is Verdict.SKIPPED


@pytest.mark.parametrize(("agrees_db", "verdict"), [(115.0, Verdict.OK), (24.0, Verdict.FAILED)])
def test_a_gpu_must_agree_with_the_cpu(
    found: Any, monkeypatch: pytest.MonkeyPatch, agrees_db: float, verdict: Verdict
) -> None:
    monkeypatch.setattr(canary, "fresh", lambda *_: iter(()))
    monkeypatch.setattr(canary, "agrees_with_the_cpu", lambda *_: agrees_db)
    (fitness,) = found("cuda")
    assert (fitness.name, fitness.verdict) == ("fitness.preview", verdict)


def test_a_device_that_fails_is_told_of_with_its_error(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(canary, "fresh", lost)
    (only,) = found("cuda")
    assert only.verdict is Verdict.FAILED
    assert "illegal memory access" in only.said


def test_a_network_agrees_with_itself_on_the_cpu(tmp_path: Any) -> None:
    from pipeline.trial import agrees_with_the_cpu

    store = WeightStore(tmp_path, allow_preview=True)
    assert agrees_with_the_cpu(Shelf(store, torch.device("cpu")), store, PREVIEW_MODEL) > canary.FITNESS_PSNR
