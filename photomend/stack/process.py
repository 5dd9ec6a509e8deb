"""One child process: own session, own log file, ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from photomend.stack.errors import ServerFailed

_TETHER = Path(__file__).with_name("tether.py")

#: Between two looks at a starting or stopping process, s.
_POLL_S = 0.02


class Child:
    """A running process whose output goes to ``log``.

    It has its own session, so that Ctrl-C at the terminal reaches only us and we stop children in order. It must be
    started by a thread that lives as long as it should (the kernel ties it to that thread), and stopped with ``stop``.
    """

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self._log_start = sink.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the commands are the stack's own
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative = ended by that signal."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        return self.exit_status is None

    def output(self) -> str:
        """What this run of the process has written so far."""
        with self.log.open("rb") as source:
            source.seek(self._log_start)
            return source.read().decode(errors="replace")

    def tail(self, lines: int = 12) -> str:
        """The last lines that this run of the process wrote."""
        return "\n".join(self.output().splitlines()[-lines:])

    def stop(self, *, grace_s: float = 10.0) -> int:
        """Its exit status, after SIGTERM and, past ``grace_s``, SIGKILL to everything in its session's group."""
        if self.exit_status is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            return self._process.wait()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once ``is_ready``; it is asked again and again while the process lives.

        Raises:
            ServerFailed: the process ended first, or is not ready in time (it is then stopped).
        """
        give_up_at = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running:
                raise ServerFailed(
                    f"{self.name} ended with status {self.exit_status} while starting (log: {self.log})",
                    log_tail=self.tail(),
                )
            if time.monotonic() > give_up_at:
                last_words = self.tail()
                self.stop()
                raise ServerFailed(
                    f"{self.name} is not ready after {timeout_s:.0f} s (log: {self.log})", log_tail=last_words
                )
            time.sleep(_POLL_S)
