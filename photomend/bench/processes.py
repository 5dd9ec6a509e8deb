"""The benchmark's processes, from the side of whoever gives them work."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from photomend.bench.child import words_of
from photomend.bench.contest import Workshop

#: How much of its log a process that failed is quoted with (lines).
QUOTED = 12
#: How long a process may take to end before it is killed, and to answer before it is given up (seconds).
ENDS_WITHIN_S, ANSWERS_WITHIN_S = 20.0, 1200.0


class BenchFailed(Exception):
    """A process of the benchmark ended by itself, or hangs; the message has its last words."""


class Helper:
    """One process; answers come in the order of what was asked."""

    def __init__(
        self,
        label: str,
        order: Mapping[str, Any],
        place: Workshop,
        *,
        is_tuned: bool,
        cores: int,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``environment``: variables beside those that every side has."""
        self.label = label
        place.folder.mkdir(parents=True, exist_ok=True)
        self.log = place.folder / f"{label.replace('/', '-')}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "photomend.bench.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment_of(is_tuned=is_tuned, cores=cores) | dict(environment),
                # Ctrl-C is ours to hear: what is done is kept.
                start_new_session=True,
            )
        self._send({**order, "workshop": words_of(place)})

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            BenchFailed: there will be none.
        """
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        # Nothing else lies in the pipe's buffer: there is one line for each question.
        if not select.select([self._process.stdout], [], [], ANSWERS_WITHIN_S)[0]:
            raise BenchFailed(f"{self.label} gave no answer within {ANSWERS_WITHIN_S / 60:g} minutes (log: {self.log})")
        line = self._process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-QUOTED:])
            raise BenchFailed(f"{self.label} ended with status {self._process.wait()} (log: {self.log})\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, case: str, *, keep: Path | None = None) -> dict[str, Any]:
        """Let it run the case once: seconds, stages, peak_mb, extra_mb, and where the output was kept."""
        self._send({"case": case, "keep": str(keep) if keep else None})
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        # Told first: one that runs a service of its own ends that as well.
        self._process.terminate()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()

    def _send(self, words: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.answer()


def environment_of(*, is_tuned: bool, cores: int) -> dict[str, str]:
    """A side's environment: as many threads for each, and glibc's allocator either as it is or set up as ours."""
    from worker.allocator import ALLOCATOR
    from worker.settings import environment_with

    threads = {"OMP_NUM_THREADS": str(cores), "PYTHONPATH": ":".join(path for path in sys.path if path)}
    found = environment_with(threads | (ALLOCATOR if is_tuned else {}), defaults={})
    return found if is_tuned else {name: value for name, value in found.items() if name not in ALLOCATOR}
