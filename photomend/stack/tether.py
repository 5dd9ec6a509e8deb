"""Become another program that gets SIGTERM when its parent dies: ``python tether.py PARENT_PID PROGRAM ARGS…``.

Run as a script by :mod:`photomend.stack.process`. It stands between fork and exec because ``preexec_fn`` is not safe
in a process with threads. Linux only; elsewhere the program runs untethered and must be stopped in the ordinary way.
"""

from __future__ import annotations

import os
import signal
import sys

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def tether(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM at the death of the thread that started us.

    Raises:
        SystemExit: the parent is already gone.
    """
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # The parent may have died before the call above; then the kernel will never tell us.
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    if sys.platform == "linux":
        tether(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the program is the stack's own choice
