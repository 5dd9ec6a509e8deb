"""Rows whose sides take known times, for tests of the benchmark itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from photomend.bench.contest import (
    OURS,
    Contest,
    Prepare,
    Ran,
    RowPlan,
    Runner,
    Side,
    Trial,
    Workshop,
    at_least,
    at_most,
    duel,
)


def _side(seconds: float, shade: int) -> Prepare:
    def prepare(place: Workshop) -> Runner:
        print("a library that prints")  # noqa: T201
        assert (place.folder / "set-up").is_file(), "set up comes first"

        def run(case: str) -> Ran:
            is_tuned = "MALLOC_MMAP_MAX_" in os.environ
            with (place.folder / "order").open("a") as order:
                order.write(f"{case} {shade} {is_tuned}\n")
            if case == "deadly" and shade == 100:
                raise ValueError("this side cannot do it")
            return Ran(output=np.full((2, 2, 3), shade, np.uint8), seconds=seconds, stages={"think": seconds / 2})

        return run

    return prepare


def _set_up(place: Workshop) -> None:
    (place.folder / "set-up").touch()


def _broken_set_up(place: Workshop) -> None:
    raise OSError("no room for weights")


def _failing_trial(place: Workshop) -> Mapping[str, Any]:
    raise RuntimeError("the service did not start")


def _trial(place: Workshop) -> Mapping[str, Any]:
    return {"growth_percent": 3.0, "ours_s": 1.5}


CONTESTS = (
    Contest(
        name="fake",
        cases=("one", "two"),
        once=("two",),
        repeats=3,
        set_up=_set_up,
        sides=duel(upstream=_side(8.0, 90), ours=_side(2.0, 100)),
        rows=(
            RowPlan(name="fast", promises=(at_least("ratio", 3), at_most("max_abs_diff", 12))),
            RowPlan(
                name="slow", cases=("one",), promises=(at_least("ratio", 5), at_least("own_psnr_db", 9)), like=OURS
            ),
        ),
    ),
    Contest(
        name="fatal",
        cases=("deadly",),
        warm="light",
        sides={
            **duel(upstream=_side(8.0, 90), ours=_side(2.0, 100)),
            "steady": Side(prepare=_side(4.0, 101)),
            "compared": Side(prepare=_side(1.0, 102), counts=False),
        },
        rows=(
            RowPlan(name="fatal", promises=(at_least("ratio", 3),)),
            RowPlan(name="steady", ours="steady", like="compared"),
        ),
    ),
    Contest(
        name="broken",
        set_up=_broken_set_up,
        sides=duel(upstream=_side(8.0, 90), ours=_side(2.0, 100)),
        rows=(RowPlan(name="never"),),
    ),
)
TRIALS = (
    Trial(name="grows", measure=_trial, promises=(at_most("growth_percent", 2.0),)),
    Trial(name="fails", measure=_failing_trial),
)
