"""``make storm``: ``python -m tests.faults.storm --jobs 2000 --faults 200``. Exits with 1 if a promise was broken."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults.storm.control import control
from tests.faults.storm.figures import broken_promises, figures
from tests.faults.storm.overhead import measure
from tests.faults.storm.run import Outcome, Tell, storm
from tests.fleet import ROOT

#: The control gets this share of the jobs and of the faults; its redelivery is slow, and the whole has twenty minutes.
CONTROL_SHARE = 0.4
#: Without a terminal the state is told so often (seconds).
TELL_EVERY_S = 15.0


def teller() -> Tell:
    """Says how far it is: on one line of a terminal, or now and then."""
    began, last = time.monotonic(), -TELL_EVERY_S

    def tell(words: str) -> None:
        nonlocal last
        now = time.monotonic()
        line = f"[{now - began:6.1f} s] {words}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
        elif now - last >= TELL_EVERY_S:
            last = now
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    return tell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--drains", type=int, help="SIGTERMs of their own phase; half as many as faults unless told")
    parser.add_argument("--control", type=int, choices=(0, 1), default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "storm")
    return parser.parse_args()


def save(report: dict[str, Any], outcome: Outcome, folder: Path) -> None:
    """Write what is known so far, so that an interrupted control costs nothing but itself."""
    report["broken"] = broken_promises(report)
    report["violations"] = [f"{v.job}: {v.promise}: {v.how}" for v in outcome.violations]
    (folder / "latest.json").write_text(json.dumps(report, indent=2) + "\n")


def main() -> int:
    wanted = arguments()
    drains = wanted.faults // 2 if wanted.drains is None else wanted.drains
    wanted.out.mkdir(parents=True, exist_ok=True)
    tell = teller()
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        folder = Path(name)
        outcome = storm(
            seed=wanted.seed, jobs=wanted.jobs, faults=wanted.faults, drains=drains, folder=folder / "ours", tell=tell
        )
        for file in (folder / "ours" / "history.jsonl", *(folder / "ours").glob("*.log")):
            shutil.copy(file, wanted.out)
        report: dict[str, Any] = {"seed": wanted.seed, "faults_wanted": wanted.faults + drains} | figures(outcome)
        tell("overhead")
        report |= measure(folder / "overhead", max(20, wanted.jobs // 10))
        save(report, outcome, wanted.out)
        if wanted.control:
            share = [math.ceil(CONTROL_SHARE * count) for count in (wanted.jobs, wanted.faults)]
            report["control"] = control(
                seed=wanted.seed, jobs=share[0], faults=share[1], folder=folder / "control", tell=tell
            )
    save(report, outcome, wanted.out)
    sys.stdout.write("\n" + json.dumps(report, indent=2) + "\n")
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
