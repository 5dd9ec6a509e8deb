"""Keeps worker processes running: starts them, reads how they end, starts them again, and passes a drain on.

One thread, one process each for every GPU. It imports neither torch nor Celery, so that it is small and cannot crash
with what it watches.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import structlog

from worker.processes import Plan
from worker.settings import environment_with

logger = structlog.get_logger(__name__)

#: First and longest wait before a process that failed is started again (seconds), doubling in between.
RESTART_S = (1.0, 60.0)
#: A process that lived so long is healthy: its next failure counts as the first (seconds).
HEALTHY_S = 60.0
#: How long after its grace a process may still be there before it is killed (seconds).
OVERTIME_S = 5.0
LOOK_EVERY_S = 0.1

#: What exit statuses of ours mean to an operator.
_MEANINGS = {70: "its device work or a job hung"}


@dataclass(kw_only=True)
class _Child:
    plan: Plan
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0  #: when to start it next


def describe_exit(status: int) -> str:
    """How a process ended, in words; ``status`` as ``Popen.returncode`` has it."""
    if status >= 0:
        return f"exit status {status}" + (f": {_MEANINGS[status]}" if status in _MEANINGS else "")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    # The kernel's out-of-memory killer says nothing else; no other process should send this one.
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


class Supervisor:
    """Runs ``plans`` until it is told to stop."""

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        app: str,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Child(plan=plan) for plan in plans]
        self._app = app
        self._grace_s = grace_s
        self._clock = clock
        self._signals = 0
        self._passed_on = 0
        self._kill_at = float("inf")

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Handler for SIGTERM and SIGINT: the first drains, a later one makes it quick. Only counts."""
        self._signals += 1

    def run(self) -> int:
        """Work until told to stop and all processes are gone; the exit status for this one."""
        logger.info("worker starts", processes=[c.plan.name for c in self._children])
        while True:
            self._pass_on()
            running = [child for child in self._children if self._look_after(child)]
            if self._signals and not running:
                logger.info("worker stopped")
                return 0
            if self._clock() >= self._kill_at:
                self._kill(running)
            time.sleep(LOOK_EVERY_S)

    def _pass_on(self) -> None:
        if self._passed_on >= self._signals:
            return
        is_first = self._passed_on == 0
        self._passed_on = self._signals
        logger.info("draining" if is_first else "stopping at once", grace_s=self._grace_s)
        if is_first:
            self._kill_at = self._clock() + self._grace_s + OVERTIME_S
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)

    def _look_after(self, child: _Child) -> bool:
        """Start it, or read how it ended; whether it runs now."""
        if child.process is None:
            if self._signals or self._clock() < child.start_at:
                return False
            self._start(child)
            return True
        status = child.process.poll()
        if status is None:
            return True
        self._read_exit(child, child.process.pid, status)
        child.process = None
        return False

    def _start(self, child: _Child) -> None:
        forced = child.plan.environment | {"PHOTOMEND_SUPERVISOR_PID": str(os.getpid())}
        # In a session of its own: Ctrl-C in a terminal reaches us alone, and we pass it on in order.
        child.process = subprocess.Popen(  # noqa: S603 - our own command line
            child.plan.command(self._app),
            env=environment_with(forced, defaults=child.plan.defaults),
            start_new_session=True,
        )
        child.started_at = self._clock()
        logger.info("process started", process=child.plan.name, pid=child.process.pid)

    def _read_exit(self, child: _Child, pid: int, status: int) -> None:
        lived_s = self._clock() - child.started_at
        facts = {"process": child.plan.name, "pid": pid, "lived_s": round(lived_s, 1), "how": describe_exit(status)}
        if self._signals:
            logger.info("process ended", **facts)
            return
        child.failures = 1 if lived_s >= HEALTHY_S else child.failures + 1
        first_s, longest_s = RESTART_S
        wait_s = min(first_s * 2 ** min(child.failures - 1, 10), longest_s)
        child.start_at = self._clock() + wait_s
        logger.error("process died, starting it again", **facts, wait_s=wait_s)

    def _kill(self, running: Sequence[_Child]) -> None:
        for child in running:
            if child.process is not None:
                logger.error("process did not leave in time, killed", process=child.plan.name, pid=child.process.pid)
                child.process.kill()
