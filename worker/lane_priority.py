"""Job threads step back behind the lane where they want the same cores.

On a CPU the lane computes with every core, in equal parts that wait for each other: another thread that takes half of
one core for a while halves the speed of all. What job threads do (fetch, decode, blend, encode, store) has time while
the lane works on another job, so the kernel is told to prefer the lane's threads; when those wait, nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import threading

#: Niceness of job threads: where a lane's thread of 0 wants the same core, they have a tenth of it. That is more than
#: enough for a lease's beats, whose threads inherit it. Source: the kernel's sched_prio_to_weight, 110 to 1024.
HOST_NICE = 10


def step_back() -> None:
    """Prefer others to the calling thread and those that it starts, from now on; nothing where that is not possible."""
    # Niceness belongs to a thread on Linux alone; elsewhere it would slow the whole process.
    if not hasattr(os, "sched_getaffinity") or threading.current_thread() is threading.main_thread():
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < HOST_NICE:
            os.setpriority(os.PRIO_PROCESS, thread, HOST_NICE)
