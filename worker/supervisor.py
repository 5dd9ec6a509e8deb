"""Keeps worker processes running: starts them, reads how they end, starts them again, and passes a drain on.

One process each for every GPU. How one ended decides what becomes of its jobs, and the store hears it at once. It
imports neither torch nor Celery, so that it is small and cannot crash with what it watches.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import structlog

from jobs.startup import require_safe
from jobs.states import MAX_DEATHS
from jobs.store import JobStore
from worker import memory
from worker.aftermath import Aftermath
from worker.exits import Exit, read_exit
from worker.process_figures import ProcessFigures
from worker.processes import Plan, worker_name
from worker.settings import WorkerSettings, environment_with

logger = structlog.get_logger(__name__)

#: Shortest and longest wait before a process that keeps failing is started again (seconds), doubling in between. Before
#: as many failures as one poison picture alone can bring about there is none: its jobs wait for it.
RESTART_S = (1.0, 60.0)
PATIENCE = MAX_DEATHS + 1
#: A process that lived so long is healthy: its next failure counts as the first (seconds).
HEALTHY_S = 60.0
#: How long after its grace a process may still be there before it is killed (seconds).
OVERTIME_S = 5.0
LOOK_EVERY_S = 0.1
#: How often the kernel's count of processes killed for memory is read (seconds), and how many readings are kept.
#: One that ends by SIGKILL while the count grew over them was one of those; a large one takes seconds to end.
COUNT_KILLS_EVERY_S = 1.0
COUNTS_KEPT = 5
#: How long the store may take to hear of the last processes (seconds).
AFTERMATH_S = 5.0


@dataclass(kw_only=True)
class _Child:
    plan: Plan
    process: subprocess.Popen[bytes] | None = None
    worker: str = ""  #: how it calls itself in records
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0  #: when to start it next


def supervise(plans: Sequence[Plan], *, app: str, settings: WorkerSettings) -> int:
    """Run ``plans`` until SIGTERM or Ctrl-C; the exit status for this process. Redis need not be up.

    Raises:
        NotSetUp: see ``jobs.startup.require_safe``; or the metrics' port is taken.
    """
    store = JobStore.connect(settings)
    require_safe(store, settings)
    figures = ProcessFigures(settings)
    aftermath = Aftermath(store)
    supervisor = Supervisor(
        plans, app=app, node_name=settings.node_name, grace_s=settings.drain_s, on_exit=aftermath.of, figures=figures
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.on_signal)
    try:
        return supervisor.run()
    finally:
        aftermath.close(timeout_s=AFTERMATH_S)
        store.close()
        figures.close()


class Supervisor:
    """Runs ``plans`` until it is told to stop."""

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        app: str,
        node_name: str,
        grace_s: float,
        on_exit: Callable[[str, Exit], None],
        figures: ProcessFigures | None = None,
        oom_kills: Callable[[], int | None] = memory.oom_kills,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Child(plan=plan) for plan in plans]
        self._app = app
        self._node_name = node_name
        self._grace_s = grace_s
        self._on_exit = on_exit
        self._figures = figures or ProcessFigures()
        self._oom_kills = oom_kills
        self._clock = clock
        self._kills = deque([oom_kills() or 0], maxlen=COUNTS_KEPT)
        self._kills_read_at = clock()
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
            self._count_kills()
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
        # The name by which the store knows its jobs is settled here, so that it can be told of them afterwards.
        incarnation = secrets.token_hex(4)
        forced = (
            child.plan.environment
            | self._figures.environment(child.plan.name)
            | {
                "PHOTOMEND_SUPERVISOR_PID": str(os.getpid()),
                "PHOTOMEND_NODE_NAME": self._node_name,
                "PHOTOMEND_INCARNATION": incarnation,
            }
        )
        # In a session of its own: Ctrl-C in a terminal reaches us alone, and we pass it on in order.
        child.process = subprocess.Popen(  # noqa: S603 - our own command line
            child.plan.command(self._app),
            env=environment_with(forced, defaults=child.plan.defaults),
            start_new_session=True,
        )
        child.started_at = self._clock()
        child.worker = worker_name(self._node_name, child.process.pid, incarnation)
        self._figures.started(child.plan.name, child.process.pid)
        logger.info("process started", process=child.plan.name, pid=child.process.pid)

    def _read_exit(self, child: _Child, pid: int, status: int) -> None:
        lived_s = self._clock() - child.started_at
        was_oom_killed = (self._oom_kills() or 0) > self._kills[0]
        ended = read_exit(status, was_told=self._passed_on > 0, was_oom_killed=was_oom_killed)
        self._on_exit(child.worker, ended)
        self._figures.ended(child.plan.name, ended)
        facts = {"process": child.plan.name, "pid": pid, "lived_s": round(lived_s, 1), "how": ended.how}
        if self._signals:
            logger.info("process ended", **facts)
            return
        if ended.is_healthy:
            child.failures, child.start_at = 0, self._clock()
            logger.info("process left, starting it again", **facts)
            return
        child.failures = 1 if lived_s >= HEALTHY_S else child.failures + 1
        first_s, longest_s = RESTART_S
        in_vain = child.failures - PATIENCE
        wait_s = min(first_s * 2 ** min(in_vain, 10), longest_s) if in_vain >= 0 else 0.0
        child.start_at = self._clock() + wait_s
        logger.error("process died, starting it again", **facts, wait_s=wait_s)

    def _count_kills(self) -> None:
        if self._clock() >= self._kills_read_at + COUNT_KILLS_EVERY_S:
            self._kills.append(self._oom_kills() or 0)
            self._kills_read_at = self._clock()

    def _kill(self, running: Sequence[_Child]) -> None:
        for child in running:
            if child.process is not None:
                logger.error("process did not leave in time, killed", process=child.plan.name, pid=child.process.pid)
                child.process.kill()
