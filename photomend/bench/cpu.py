"""CPU time of processes by what they are, from Linux' /proc: what work costs, whoever else has the cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

#: Fields of /proc/PID/stat behind the program's name: session, and own and reaped children's time. Source: proc(5).
_SESSION, _TIMES = 3, slice(11, 15)


def cpu_s(sessions: Mapping[str, Collection[int]]) -> dict[str, float]:
    """Seconds of CPU that the living processes of each group of sessions, and their ended children, have taken."""
    of = {session: name for name, group in sessions.items() for session in group}
    taken = dict.fromkeys(sessions, 0.0)
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything.
            fields = place.read_text().rpartition(")")[2].split()
            if name := of.get(int(fields[_SESSION])):
                taken[name] += sum(map(int, fields[_TIMES])) / os.sysconf("SC_CLK_TCK")
    return taken
