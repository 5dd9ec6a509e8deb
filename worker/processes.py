"""What a worker process is started with: one for each GPU, or so many on the CPU, and the environment of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.queue import QUEUES

#: glibc's allocator gives big blocks back to the kernel at once and takes them again zeroed: a quarter of torch's time
#: on a CPU. These keep them; one arena, since the lane is not the main thread and would get a second one.
#: Source: measured against the defaults, tests/bench.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024**3),
    "MALLOC_TOP_PAD_": str(256 * 1024**2),
}
#: Jobs at a time of a process with a GPU and without: some keep the lane busy while others fetch, decode and store.
GPU_THREADS, CPU_THREADS = 8, 3

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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


def plan_processes(*, gpus: Sequence[str], cpu: int, threads: int | None, cores: int) -> tuple[Plan, ...]:
    """One process for each of ``gpus`` (as CUDA_VISIBLE_DEVICES names them), or ``cpu`` ones where there is none."""
    count = len(gpus) or cpu
    share = str(max(1, cores // count))
    # The lane computes with OpenMP's threads; more of them than cores wait for each other.
    defaults = ALLOCATOR | {"OMP_NUM_THREADS": share}
    if gpus:
        return tuple(
            Plan(
                name=f"gpu{index}",
                threads=threads or GPU_THREADS,
                environment={
                    "CUDA_VISIBLE_DEVICES": gpu,
                    "PHOTOMEND_DEVICE": "cuda:0",
                    "PHOTOMEND_THREADS": str(threads or GPU_THREADS),
                },
                defaults=defaults,
            )
            for index, gpu in enumerate(gpus)
        )
    return tuple(
        Plan(
            name=f"cpu{index}",
            threads=threads or CPU_THREADS,
            environment={"PHOTOMEND_DEVICE": "cpu", "PHOTOMEND_THREADS": str(threads or CPU_THREADS)},
            defaults=defaults,
        )
        for index in range(cpu)
    )


def found_gpus(visible: str | None) -> tuple[str, ...]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them; ``visible`` is what it is set to, if it is."""
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in {"", "-1"})
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    # By UUID: the order of numbers differs between the driver and CUDA.
    asked = subprocess.run(  # noqa: S603 - a fixed command without anyone's input
        [tool, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False
    )
    return tuple(asked.stdout.split()) if asked.returncode == 0 else ()


def available_cores() -> int:
    """The cores that this process may use: by affinity, and by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
