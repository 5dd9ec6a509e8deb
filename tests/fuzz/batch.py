"""Many inputs in one process that may die of any of them: as cheap as it gets, for ``make test``.

The child says which input it is at before it looks at it; so its death has a culprit, and another child goes on behind.
"""

from __future__ import annotations

import argparse
import os
import selectors
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable

from pipeline.errors import PipelineError
from tests.fleet import ROOT
from tests.fuzz.inputs import Inputs, seeds
from tests.fuzz.walk import walk

#: How long a child may be silent (seconds): starting, or at one small file.
SILENCE_S = 100.0
#: For tests: a child that ends in each of the ways that are looked for.
PLANTED: dict[str, Callable[[], object]] = {
    "crash": os.abort,
    "exception": lambda: 1 // 0,
    "hang": input,
}


def batched(numbers: range, *, seed: int, planted: dict[int, str] | None = None) -> tuple[Counter[str], dict[int, str]]:
    """How many inputs ended how, and those that ended as none may: number → what it did."""
    ends: Counter[str] = Counter()
    findings: dict[int, str] = {}
    first = numbers.start
    while first < numbers.stop:
        at, words = _one_child(range(first, numbers.stop), seed, planted or {}, ends, findings)
        if words is not None:
            findings[at] = words
        first = at + 1
    return ends, findings


def _one_child(
    numbers: range, seed: int, planted: dict[int, str], ends: Counter[str], findings: dict[int, str]
) -> tuple[int, str | None]:
    """The last input that it was at, and how it died of it."""
    places = [f"--plant={number}:{what}" for number, what in planted.items()]
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.batch",
        str(numbers.start),
        str(numbers.stop),
        f"--seed={seed}",
        *places,
    ]
    environment = os.environ | {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    at, silent, rest = numbers.start, False, b""
    with child, selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            silent = not selector.select(SILENCE_S)
            piece = b"" if silent else os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                number, _, end = line.decode().partition(" ")
                at = int(number)
                if end.startswith("!"):
                    findings[at] = end
                elif end:
                    ends[end] += 1
        child.kill() if silent else child.wait(SILENCE_S)
    if silent:
        return at, "hang"
    return (numbers.stop, None) if child.returncode == 0 else (at, f"death: status {child.returncode}")


def _try(data: bytes) -> str:
    try:
        walk(data)
    except PipelineError as error:
        return error.code
    # All others are what is looked for.
    except Exception as error:  # noqa: BLE001
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"!{type(error).__name__}: {error} at {where.filename}:{where.lineno}".replace("\n", " ")
    return "picture"


def main() -> None:
    """The child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--plant", action="append", default=[])
    said = parser.parse_args()
    warnings.simplefilter("error")
    planted = dict(place.split(":") for place in said.plant)
    inputs = Inputs(said.seed, seeds())
    for number in range(said.first, said.end):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        if str(number) in planted:
            PLANTED[planted[str(number)]]()
        sys.stdout.write(f"{number} {_try(inputs[number])}\n")


if __name__ == "__main__":
    main()
