"""A process that works for the benchmark: ``python -m photomend.bench.child``, told what to do by JSON lines.

The program's real standard output is for answers; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from photomend.bench.contest import Contest, Ran, Trial, Workshop

_CLEAR = Path("/proc/self/clear_refs")


def main() -> None:
    """Do what the first line says, with the answers on what was standard output."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # Written at once, like the rest of the log: printed words must not come out after the traceback that ends it.
    sys.stdout = sys.stderr
    # What it started is ended with it, by the blocks that started it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    order = json.loads(sys.stdin.readline())
    place = workshop_of(order["workshop"])
    found = find(importlib.import_module(order["module"]), order["name"])
    if order["do"] == "set-up":
        assert isinstance(found, Contest)  # noqa: S101 - for the type checker
        if found.set_up is not None:
            found.set_up(place)
        _tell(answers, {})
    elif order["do"] == "measure":
        assert isinstance(found, Trial)  # noqa: S101 - for the type checker
        _tell(answers, found.measure(place))
    else:
        assert isinstance(found, Contest)  # noqa: S101 - for the type checker
        _compete(found, order["side"], place, answers)


def find(module: Any, name: str) -> Contest | Trial:
    """The contest or trial of this name in a module of rows."""
    here = (*getattr(module, "CONTESTS", ()), *getattr(module, "TRIALS", ()))
    found: Contest | Trial = next(one for one in here if one.name == name)
    return found


def words_of(place: Workshop) -> dict[str, Any]:
    """The workshop as JSON."""
    photos, weights = (str(folder) if folder else None for folder in (place.photos, place.weights))
    return {"folder": str(place.folder), "photos": photos, "weights": weights, "is_full": place.is_full}


def workshop_of(words: Mapping[str, Any]) -> Workshop:
    photos, weights = (Path(words[name]) if words[name] else None for name in ("photos", "weights"))
    return Workshop(folder=Path(words["folder"]), photos=photos, weights=weights, is_full=words["is_full"])


def _compete(contest: Contest, side: str, place: Workshop, answers: IO[str]) -> None:
    run = contest.sides[side].prepare(place)
    _tell(answers, {"rss_mb": memory_mb("VmRSS")})
    for line in sys.stdin:
        order = json.loads(line)
        _forget_peak()
        before = memory_mb("VmRSS")
        began = time.perf_counter()
        ran = run(order["case"])
        seconds = time.perf_counter() - began
        peak = ran.peak_mb or memory_mb("VmHWM")
        words = {"seconds": ran.seconds or seconds, "stages": dict(ran.stages), "how": dict(ran.how), "peak_mb": peak}
        _tell(answers, words | {"extra_mb": max(0.0, peak - before), "output": _kept(ran, order.get("keep"))})
        del ran


def _kept(ran: Ran, path: str | None) -> str | None:
    pixels = ran.pixels() if path is not None else None
    if pixels is None or path is None:
        return None
    import numpy as np

    np.save(path, pixels)
    return path


def memory_mb(which: str, *, pid: int | None = None) -> float:
    """``VmRSS`` or ``VmHWM`` (its peak) of a process (None = this one) in MB; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid or 'self'}/status").read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _forget_peak() -> None:
    """The kernel's count of the peak begins anew."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def _tell(answers: IO[str], words: Mapping[str, Any]) -> None:
    answers.write(json.dumps(words) + "\n")


if __name__ == "__main__":
    main()
