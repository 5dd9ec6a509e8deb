"""``make fuzz``: files made to do harm, by the ten thousand, on the way from a stranger's bytes to a picture and back.

Most are chosen by what they reach in our code (``guided.py``), the others go through the worker's sandbox, which costs
some times as much, with what the first ones found among their seeds. Exit status 1: one of them did more than become a
picture or be refused with a code. Each such input is kept with how to try it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import PipelineError
from tests.fleet import ROOT
from tests.fuzz.inputs import Inputs, seeds
from tests.fuzz.judge import HANG_S, judged, sandbox
from tests.fuzz.report import Report, save
from tests.fuzz.walk import walk
from worker.sandbox.client import Sandbox

#: Guided processes, and pictures in the sandbox at a time.
AT_ONCE = min(2, os.cpu_count() or 1)
#: Share of the inputs that go through the sandbox where the others can be guided.
SANDBOXED = 0.2
#: How often a guided process is started again after it ended by an input.
RESTARTS = 20
#: How libFuzzer calls an input that ended its process, and what that is if the sandbox makes nothing of it. Memory may
#: have been taken by the inputs before.
ENDINGS = {"crash": "death", "timeout": "hang", "oom": "crash"}
#: How often progress is told (seconds).
TOLD_EVERY_S = 5.0
#: Files of the guided part that become seeds of the other.
MOST_FOUND = 3000


def tell(words: str) -> None:
    """A line for whoever waits."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


class Progress:
    """How far one part is."""

    def __init__(self, what: str, count: int) -> None:
        self._what, self._count = what, count
        self._began = self._told = time.monotonic()
        self._lock = threading.Lock()

    def at(self, done: int, findings: int) -> None:
        """Say so, but not too often."""
        with self._lock:
            now = time.monotonic()
            if now - self._told < TOLD_EVERY_S and done < self._count:
                return
            self._told = now
        rate = done / max(0.001, now - self._began)
        tell(f"{self._what}: {done:,} of {self._count:,} inputs, {rate:,.0f} a second, {findings} findings")


def guided(count: int, *, seed: int, folder: Path, report: Report) -> None:
    """Try inputs that are chosen by what they reach."""
    progress = Progress("guided", count)
    shares = [count // AT_ONCE + (number < count % AT_ONCE) for number in range(AT_ONCE)]
    places = [folder / f"guided-{number}" for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        going = [
            threads.submit(_guided, share, seed + number, place)
            for number, (share, place) in enumerate(zip(shares, places, strict=True))
        ]
        while not all(future.done() for future in going):
            time.sleep(0.5)
            progress.at(sum(map(_runs, places)), sum(len(list(place.glob("exception-*.bin"))) for place in places))
        for future in going:
            future.result()
    report.guided = sum(map(_runs, places))


def _runs(place: Path) -> int:
    try:
        return int(struct.unpack("<Q", (place / "runs").read_bytes())[0])
    except (FileNotFoundError, struct.error):
        return 0


def _guided(runs: int, seed: int, place: Path) -> None:
    place.mkdir(parents=True)
    for again in range(RESTARTS):
        left = runs - _runs(place)
        if left <= 0:
            return
        words = [
            "--runs",
            str(left),
            "--seed",
            str(seed + 1000 * again),
            "--hang-s",
            str(HANG_S),
            "--folder",
            str(place),
        ]
        environment = os.environ | {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1"}
        with (place / "log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "tests.fuzz.guided", *words],
                cwd=ROOT, stdout=log, stderr=log, env=environment, check=False,
            )  # fmt: skip
        _without_culprits(place)
    if _runs(place) < runs:
        raise RuntimeError(f"the guided process does not get through its inputs; see {place / 'log'}")


def _without_culprits(place: Path) -> None:
    """A seed that ended the process would end the next one as well."""
    culprits = {file.read_bytes() for kind in ENDINGS for file in place.glob(f"{kind}-*")}
    for file in place.glob("corpus/*"):
        if file.read_bytes() in culprits:
            file.unlink()


def collect(folder: Path, box: Sandbox, report: Report) -> None:
    """What the guided part found: exceptions as they were noted; crashes and hangs as the sandbox takes them."""
    for file in sorted(folder.glob("guided-*/exception-*.bin")):
        detail = file.with_suffix(".txt").read_text().partition("\n\n")[2]
        report.findings.append(save(folder / "findings", file.read_bytes(), kind="exception", detail=detail))
    for file in sorted(itertools.chain(*(folder.glob(f"guided-*/{kind}-*") for kind in ENDINGS))):
        data = file.read_bytes()
        verdict = judged(box, data)
        # What the sandbox does not know of was not held by it.
        kind = verdict.kind or ENDINGS[file.name.partition("-")[0]]
        detail = f"{file.name} in the guided process; in the sandbox: {verdict.end} {verdict.detail}"
        report.findings.append(save(folder / "findings", data, kind=kind, detail=detail))


def sandboxed(inputs: Inputs, numbers: range, box: Sandbox, *, folder: Path, report: Report) -> None:
    """Try inputs as a worker would."""
    progress, lock, known = Progress("in the sandbox", len(numbers)), threading.Lock(), set[str]()

    def one(number: int) -> None:
        data = inputs[number]
        verdict = judged(box, data)
        with lock:
            report.ends[verdict.end] += 1
            is_new = verdict.kind is not None and verdict.detail not in known
            known.add(verdict.detail)
            if is_new:
                report.findings.append(save(folder / "findings", data, kind=str(verdict.kind), detail=verdict.detail))
            progress.at(report.ends.total(), len(report.findings))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(one, numbers):
            pass


def reproduce(file: Path) -> int:
    """Try one input again: first in the sandbox, then, if that is safe, here, for the traceback."""
    data = file.read_bytes()
    box = sandbox()
    try:
        verdict = judged(box, data)
    finally:
        box.close()
    tell(f"in the sandbox: {verdict.end} {verdict.detail}")
    if verdict.kind in {None, "exception"}:
        try:
            walk(data)
        except PipelineError as error:
            tell(f"here: {error.code}: {error}")
        # To be shown.
        except Exception:  # noqa: BLE001
            tell(traceback.format_exc())
    return 1 if verdict.kind not in {None, "crash"} else 0


def run(count: int, *, seed: int, folder: Path) -> Report:
    """Try ``count`` inputs; what is found lies in ``folder`` afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = Report()
    box = sandbox()
    box.start()
    try:
        if importlib.util.find_spec("atheris") is None:
            tell("atheris is not installed (pip install 'photomend[fuzz]'): all inputs are made without its guidance")
        else:
            guided(count - round(count * SANDBOXED), seed=seed, folder=folder, report=report)
            collect(folder, box, report)
        found = [file.read_bytes() for file in sorted(folder.glob("guided-*/corpus/*"))[:MOST_FOUND]]
        sandboxed(Inputs(seed, [*seeds(), *found]), range(count - report.guided), box, folder=folder, report=report)
    finally:
        box.close()
    return report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/fuzz")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="an input that was kept")
    said = parser.parse_args()
    if said.reproduce:
        return reproduce(said.reproduce)
    report = run(said.count, seed=said.seed, folder=said.folder)
    ends = ", ".join(f"{end} {number:,}" for end, number in report.ends.most_common())
    tell(f"{report.inputs:,} inputs (seed {said.seed}): {report.guided:,} guided; in the sandbox: {ends}")
    for finding in report.findings:
        held = "" if finding.is_escape else " (held by the sandbox)"
        tell(f"{finding.kind}{held}: {finding.detail.strip().splitlines()[-1]}\n  {finding.file}")
    tell(f"{len(report.escapes)} escapes, {len(report.findings) - len(report.escapes)} crashes that the sandbox held")
    return 1 if report.escapes else 0


if __name__ == "__main__":
    sys.exit(main())
