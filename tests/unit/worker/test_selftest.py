"""Worker processes that are tried before they work: what each finds is told, and how one died that told nothing."""

from __future__ import annotations

import json

import pytest

from jobs.checks import Verdict, failed, ok
from worker.processes import Plan
from worker.selftest import self_test

GPUS = [Plan(name=f"gpu{n}", threads=1, environment={"CUDA_VISIBLE_DEVICES": uuid}) for n, uuid in enumerate("ab")]


def says(*lines: object, then: str = "") -> tuple[str, ...]:
    """A process that prints what a canary would."""
    code = "import os, signal, sys, time\n"
    code += "".join(f"print({json.dumps(line)!r}, flush=True)\n" for line in lines)
    return "-S", "-c", code + then


def test_each_device_is_tried_by_a_process_that_sees_it_alone() -> None:
    code = (
        "import json, os\n"
        "print(json.dumps({'name': 'device', 'verdict': 'ok', 'said': os.environ['CUDA_VISIBLE_DEVICES']}))"
    )
    found = list(self_test(GPUS, words=("-S", "-c", code)))
    assert [(check.name, check.said) for check in found] == [("gpu0.device", "a"), ("gpu1.device", "b")]


def test_processes_on_the_cpu_are_alike_and_one_is_tried() -> None:
    plans = [Plan(name=f"cpu{n}", threads=1) for n in range(3)]
    assert [check.name for check in self_test(plans, words=says(ok("device", "cpu").words()))] == ["cpu0.device"]


def test_what_failed_is_told_with_what_to_do() -> None:
    bad = failed("weights.gfpgan-1.4", "another hash", "fetch it")
    (found,) = self_test(GPUS[:1], words=says(bad.words(), then="sys.exit(1)"))
    assert (found.name, found.verdict, found.advice) == ("gpu0.weights.gfpgan-1.4", Verdict.FAILED, "fetch it")


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("sys.exit('the driver is too old')", "the driver is too old"),
        ("time.sleep(60)", "did not end within"),
    ],
)
def test_a_process_that_dies_or_hangs_has_failed(end: str, how: str) -> None:
    within_s = 1.0 if "sleep" in end else 30.0
    *_, last = self_test(GPUS[:1], words=says(ok("device", "x").words(), then=end), within_s=within_s)
    assert (last.name, last.verdict) == ("gpu0.process", Verdict.FAILED)
    assert how in last.said
