"""What Linux says about memory: how much there is, how much this process holds, and whether some was killed for it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_MEGABYTE = 1024 * 1024
_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def rss_mb(pid: int | None = None) -> float:
    """Memory that a process (this one, unless ``pid`` names another) holds in RAM; 0 where it or /proc is not there.

    Without pages of mapped files, where large pictures lie: the kernel writes and drops those when memory is short.
    """
    try:
        lines = (_PROC / str(pid or "self") / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def give_back() -> None:
    """Have glibc's allocator give back to the system what it holds and nobody uses; some milliseconds.

    Set up as ``worker.allocator`` has it, it never does so by itself, whatever once was needed. Pages that are used
    again come back zeroed, which takes time, so this is for now and then.
    """
    if sys.platform != "linux":
        return
    # Not there with other C libraries.
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(ctypes.c_size_t(0))


def available_mb() -> float | None:
    """Memory that this process and its like may use: the machine's, or less in a container; None where unknown."""
    limits = [limit for limit in (_machine_mb(), _container_mb()) if limit is not None]
    return min(limits, default=None)


def oom_kills() -> int | None:
    """How many processes the kernel has killed in this container for want of memory; None where it does not say."""
    try:
        lines = (_container() / "memory.events").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _machine_mb() -> float | None:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemTotal:")), None)


def _container_mb() -> float | None:
    try:
        limit = (_container() / "memory.max").read_text().strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit) / _MEGABYTE


def _container() -> Path:
    """This process' control group (version 2)."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return _CGROUPS
    path = next((line[len("0::") :] for line in lines if line.startswith("0::")), "/")
    return _CGROUPS / path.lstrip("/")
