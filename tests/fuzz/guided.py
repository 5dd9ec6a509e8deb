"""One process that looks for inputs which reach new lines of ``pipeline``: atheris, which is libFuzzer for Python.

Only Python is instrumented: libvips' own code is not, so there the inputs are as blind as any. It runs in this process;
libFuzzer sees to crashes (exit status 77) and hangs (70), and leaves the input in a file. What Python raises is noted
and gone on from.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import struct
import sys
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline"]):
    from pipeline.errors import PipelineError
    from tests.fuzz import walk

from tests.fuzz.inputs import changed, seeds
from tests.fuzz.report import save

#: A native stack trace would be of libFuzzer's frames only.
_QUIET = ("-verbosity=0", "-print_final_stats=0", "-detect_leaks=0")
#: Memory of this process (MB).
_RSS_MB = 4096


class Target:
    """What libFuzzer calls with each input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counter = os.open(folder / "runs", os.O_RDWR | os.O_CREAT)
        (self._runs,) = struct.unpack("<Q", os.pread(self._counter, 8, 0) or bytes(8))
        self._known: set[str] = set()

    def __call__(self, data: bytes) -> None:
        self._runs += 1
        os.pwrite(self._counter, struct.pack("<Q", self._runs), 0)
        try:
            walk.walk(data)
        except (PipelineError, MemoryError):
            return
        # All others are what is looked for.
        except Exception as error:  # noqa: BLE001
            self._note(data, error)

    def _note(self, data: bytes, error: Exception) -> None:
        """Once for each place where it is raised."""
        place = "".join(traceback.format_tb(error.__traceback__)[-1:]) + type(error).__name__
        if place not in self._known:
            self._known.add(place)
            save(self._folder, data, kind="exception", detail="".join(traceback.format_exception(error)))


def _mutated(data: bytes, most: int, seed: int) -> bytes:
    dice = random.Random(seed)
    if not data or dice.random() < 0.3:
        return bytes(atheris.Mutate(data, most))
    return changed(data, dice)[:most]


def main() -> None:
    """Run until so many inputs were tried."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--hang-s", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    said = parser.parse_args()
    found = said.folder / "corpus"
    if not found.exists():
        found.mkdir(parents=True)
        for data in seeds():
            (found / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    warnings.simplefilter("error")
    options = [f"-runs={said.runs}", f"-seed={said.seed}", f"-timeout={said.hang_s}", f"-rss_limit_mb={_RSS_MB}"]
    places = [f"-artifact_prefix={said.folder}/", "-max_len=262144", "-len_control=0", *_QUIET, str(found)]
    atheris.Setup([sys.argv[0], *options, *places], Target(said.folder), custom_mutator=_mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
