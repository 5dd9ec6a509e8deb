"""Crash cases by the thousand: ``python -m tests.faults.crashes --who api``. Exits with 1 if one broke a promise."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from photomend.stack.redis import RedisServer
from tests.conftest import CALLBACK_SECRET
from tests.faults.crashing import CASES
from tests.fleet import ROOT

#: Long for the steps of a case on a busy machine, short for Redis to have been up for so long when the cases begin.
LEASE_S = 5.0
#: How often the state is told (cases).
TELL_EVERY = 50


def start_host(url: str, folder: Path, cases: Sequence[int]) -> subprocess.Popen[str]:
    """A process that runs these cases over a Redis of its own, and writes a line about each."""
    env = {
        "PHOTOMEND_REDIS_URL": url,
        "PHOTOMEND_LEASE_S": str(LEASE_S),
        "PHOTOMEND_RESEND_AFTER_S": "0.01",
        "PHOTOMEND_CALLBACK_SECRET": CALLBACK_SECRET,
        "PHOTOMEND_CALLBACK_ALLOW_HOSTS": '["127.0.0.1:9"]',
        "OMP_NUM_THREADS": "1",
    }
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crash_host", str(folder), *map(str, cases)],
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crashes", description=__doc__)
    parser.add_argument("--who", choices=("api", "worker", "keeper", "supervisor"), default="api")
    parser.add_argument("--crashes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    rng = random.Random(wanted.seed)
    candidates = [index for index, case in enumerate(CASES) if case.point.who == wanted.who]
    chosen = rng.choices(candidates, k=wanted.crashes)
    broken: list[str] = []
    struck = 0
    with tempfile.TemporaryDirectory(prefix="crashes-") as name:
        folder = Path(name)
        server = RedisServer(folder / "redis")
        server.start()
        time.sleep(LEASE_S + 1)
        host = start_host(server.url, folder / "host", chosen)
        assert host.stdout is not None
        for number, line in enumerate(host.stdout, 1):
            outcome = json.loads(line)
            struck += outcome["struck"]
            broken += [f"{outcome['case']}: {words}" for words in outcome["broken"]]
            if number % TELL_EVERY == 0:
                sys.stderr.write(f"{number}/{wanted.crashes}\n")
        host.wait()
        server.stop()
    report = {"seed": wanted.seed, "who": wanted.who, "crashes": struck, "of": wanted.crashes, "broken": broken}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if broken or struck < wanted.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
