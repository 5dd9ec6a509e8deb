"""Whether the worker processes of a plan could work: each is tried by a process as it would be, and heard.

This side imports no torch: what kills the process that tries is one more thing to tell of.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jobs.checks import Check, Verdict, failed
from worker.exits import describe_exit
from worker.processes import Plan
from worker.settings import environment_with

#: How long one process may take (seconds): on a new machine networks are exported first, which may take minutes.
LONGEST_S = 900.0
#: Lines of its errors that are told where it ends without a word.
TOLD_LINES = 3


def self_test(
    plans: Sequence[Plan], *, words: Sequence[str] = ("-m", "worker.canary"), within_s: float = LONGEST_S
) -> Iterator[Check]:
    """What each process finds, its plan's name before each line; all at once, as they will work.

    Processes on the CPU are alike, so one of them is tried.
    """
    tried = plans if any("CUDA_VISIBLE_DEVICES" in plan.environment for plan in plans) else plans[:1]
    with ThreadPoolExecutor(max_workers=len(tried)) as threads:
        for plan, found in zip(tried, threads.map(lambda one: _tried(one, words, within_s), tried), strict=True):
            yield from (dataclasses.replace(check, name=f"{plan.name}.{check.name}") for check in found)


def _tried(plan: Plan, words: Sequence[str], within_s: float) -> list[Check]:
    environment = environment_with(plan.environment, defaults=plan.defaults)
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired:
        return [failed("process", f"did not end within {within_s:g} s", "a device that hangs: look at nvidia-smi")]
    found = [_check(line) for line in done.stdout.splitlines()]
    if done.returncode == 0 or (done.returncode == 1 and any(one.verdict is Verdict.FAILED for one in found)):
        return found
    last = " / ".join(done.stderr.strip().splitlines()[-TOLD_LINES:])
    return [*found, failed("process", f"{describe_exit(done.returncode)}: {last}", "it died before its next line")]


def _check(line: str) -> Check:
    words = json.loads(line)
    return Check(**(words | {"verdict": Verdict(words["verdict"])}))
