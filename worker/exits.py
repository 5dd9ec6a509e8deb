"""How worker processes end, and what that says: whose fault it was, and whether their jobs count it as an attempt."""

from __future__ import annotations

import signal
from dataclasses import dataclass

#: Exit status of a process whose device work, or whose job, hangs.
EXIT_HUNG = 70
#: Of one whose GPU answers every call with an error from now on: only a new process gets a working context.
EXIT_DEVICE_LOST = 71
#: Of one that took more memory than it may, in the middle of its work.
EXIT_MEMORY = 72
#: Of one that grew and left between jobs, to be started anew.
EXIT_RECYCLED = 73

#: What exit statuses of ours mean to an operator.
_MEANINGS = {
    EXIT_HUNG: "its device work or a job hung",
    EXIT_DEVICE_LOST: "its GPU's context was lost",
    EXIT_MEMORY: "it took more memory than it may",
    EXIT_RECYCLED: "it had grown, and left between jobs",
}
#: Signals that a process brings upon itself.
_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
#: How causes are called that are no signals; the store's scripts know ``device_lost``, which counts against no job.
HANG, MEMORY, OUT_OF_MEMORY, DEVICE_LOST = "hang", "memory", "out_of_memory", "device_lost"
_CAUSES = {EXIT_HUNG: HANG, EXIT_MEMORY: MEMORY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """One process' end, read."""

    how: str  #: for an operator
    label: str  #: the same for metrics, in one word of few
    cause: str | None  #: a fault of its own, such as ``SIGSEGV``: one of its jobs may have done it. None: not theirs
    charge: bool  #: whether its jobs count it as an attempt
    is_healthy: bool  #: it left by itself and in order: start it again at once


def read_exit(status: int, *, was_told: bool, was_oom_killed: bool = False) -> Exit:
    """What ``status``, as ``Popen.returncode`` has it, says of a process.

    ``was_told``: we had asked it to go; ``was_oom_killed``: the kernel says that memory ran out where it lived.
    """
    cause = _cause(status, was_told=was_told, was_oom_killed=was_oom_killed)
    return Exit(
        how=describe_exit(status, was_oom_killed=was_oom_killed),
        label=_label(status, cause=cause, was_told=was_told),
        cause=cause,
        charge=not was_told and status not in {EXIT_DEVICE_LOST, EXIT_RECYCLED},
        is_healthy=status == EXIT_RECYCLED,
    )


def describe_exit(status: int, *, was_oom_killed: bool = False) -> str:
    """The same in words."""
    if status >= 0:
        return f"exit status {status}" + (f": {_MEANINGS[status]}" if status in _MEANINGS else "")
    name = _signal_name(-status)
    if was_oom_killed:
        return f"killed by {name}: out of memory"
    # Where the kernel does not count its kills for us, it says nothing else; no other process should send this one.
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _cause(status: int, *, was_told: bool, was_oom_killed: bool) -> str | None:
    if status < 0:
        if -status in _FAULTS:
            return _signal_name(-status)
        return OUT_OF_MEMORY if was_oom_killed and -status == signal.SIGKILL else None
    if status in _CAUSES:
        return _CAUSES[status]
    # Nothing outside gives a process a status: a library that ends the program does.
    is_foreign = status not in {0, EXIT_DEVICE_LOST, EXIT_RECYCLED}
    return f"exit {status}" if is_foreign and not was_told else None


def _label(status: int, *, cause: str | None, was_told: bool) -> str:
    if cause is not None:
        # "exit 3" is told as "exit": there are 255 of them.
        return cause.split()[0]
    if was_told:
        return "told"
    if status < 0:
        return _signal_name(-status).replace(" ", "_")
    return {EXIT_RECYCLED: "recycled", EXIT_DEVICE_LOST: DEVICE_LOST}.get(status, "other")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
