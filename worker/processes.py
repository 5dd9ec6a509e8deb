"""What a worker process is started with: one for each GPU, or so many on the CPU, and the environment of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.queue import QUEUES
from worker.allocator import ALLOCATOR

#: Jobs at a time of a process with a GPU and without, the fewest and the most: some keep the lane busy while others
#: fetch, decode and store; see ``worker.crew``. More than there are cores for would wait for each other.
GPU_THREADS, CPU_THREADS = (8, 16), (3, 6)

#: What a job of some megapixels adds to a process (MB; deploy/RUNBOOK.md), and the share of its part of memory up to
#: which more jobs than the fewest are taken: the rest is for the networks and for large pictures.
JOB_MB, JOBS_SHARE = 600.0, 0.5

#: How threads wait for each other. The lane's and the jobs' share the cores, and one that turns idly on a core, as
#: OpenMP's and numpy's OpenBLAS' do for a while, keeps the very thread from it that it waits for: 4 to 8 %
#: of a photo's computing time on two cores that other programs use too. Numpy's products are small here: one thread
#: does them.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}

#: Shares of a process' part of the memory: past the first it is started anew between jobs, past the second it ends at
#: once, before the kernel chooses whom to kill.
RECYCLE_SHARE, LIMIT_SHARE = 0.75, 0.95

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def worker_name(node: str, pid: int, incarnation: str) -> str:
    """How a worker process is called in records and logs: no other has or had this name, even with the same pid."""
    return f"{node}:{pid}:{incarnation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One worker process."""

    name: str  #: for logs and Celery's node name, such as ``gpu0`` or ``cpu1``
    threads: int
    environment: dict[str, str] = field(default_factory=dict)  #: set whatever the operator's environment says
    defaults: dict[str, str] = field(default_factory=dict)  #: set unless it says otherwise

    def command(self, app: str) -> list[str]:
        """The command line; ``app`` is the Celery app's ``module:name``."""
        queues = ",".join(QUEUES.values())
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        celery = [sys.executable, "-m", "celery", "-A", app, "--skip-checks", "--quiet"]
        where = ["-P", "threads", "-c", str(self.threads), "-Q", queues, "-n", f"{self.name}-{os.getpid()}@%h"]
        return [*celery, "worker", *where, "--loglevel", "INFO", *quiet]


def plan_processes(
    *, gpus: Sequence[str], cpu: int, threads: int | None, cores: int, memory_mb: float | None = None
) -> tuple[Plan, ...]:
    """One process for each of ``gpus`` (as CUDA_VISIBLE_DEVICES names them), or ``cpu`` ones where there is none.

    They share ``cores`` and ``memory_mb``; None: it is not known, and they have no limit.
    """
    count = len(gpus) or cpu
    # The lane computes with OpenMP's threads; more of them than cores wait for each other.
    defaults = ALLOCATOR | WAITING | {"OMP_NUM_THREADS": str(max(1, cores // count))}
    if memory_mb is not None:
        defaults["PHOTOMEND_RECYCLE_MB"] = f"{RECYCLE_SHARE * memory_mb / count:.0f}"
        defaults["PHOTOMEND_MEMORY_LIMIT_MB"] = f"{LIMIT_SHARE * memory_mb / count:.0f}"
    kind = GPU_THREADS if gpus else CPU_THREADS
    least = threads or kind[0]
    most = threads or min(max(least, cores // count + 1), kind[1])
    if threads is None and memory_mb is not None:
        most = max(least, min(most, int(JOBS_SHARE * memory_mb / count / JOB_MB)))
    at_a_time = {"PHOTOMEND_THREADS": str(most), "PHOTOMEND_LEAST_THREADS": str(least)}
    if gpus:
        return tuple(
            Plan(
                name=f"gpu{index}",
                threads=most,
                environment={"CUDA_VISIBLE_DEVICES": gpu, "PHOTOMEND_DEVICE": "cuda:0"} | at_a_time,
                defaults=defaults,
            )
            for index, gpu in enumerate(gpus)
        )
    return tuple(
        Plan(name=f"cpu{index}", threads=most, environment={"PHOTOMEND_DEVICE": "cpu"} | at_a_time, defaults=defaults)
        for index in range(cpu)
    )


def available_cores() -> int:
    """The cores that this process may use: by affinity, and by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
