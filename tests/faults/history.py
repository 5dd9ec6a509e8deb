"""What happened, told by those who did it, in a file that no server under test can lose.

Every process of a fault test appends to one file; a line is one write with O_APPEND, so lines never mix, and a process
that is killed leaves whole lines only. A missing line proves nothing (its writer may have died before it), a line that
is there does: the checker accuses on what was noted and on the final records, never on silence alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Event(StrEnum):
    """What is noted, and by whom."""

    ACCEPTED = "accepted"  #: submitter: the answer 202 came. result (sha256), callback, poison
    CANCEL_ASKED = "cancel_asked"  #: owner: the wish was taken
    CLAIMED = "claimed"  #: worker. epoch, attempt, lane
    BEGAN = "began"  #: engine: the picture is in work
    ENDED = "ended"  #: engine: the work is done
    WROTE = "wrote"  #: worker: an object was stored. key
    MOVED = "moved"  #: worker: the store took its last word. move, epoch, charge
    REFUSED = "refused"  #: worker: the store did not take it. move, epoch
    SEEN = "seen"  #: a reader saw a terminal record. state, epoch, keys
    TOLD = "told"  #: receiver: a callback came. id, type, status (its answer)
    STRUCK = "struck"  #: the storm: a fault struck. kind, pids
    MISSED = "missed"  #: the storm: a fault missed its aim and does not count. kind, pids that it hurt all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line."""

    event: Event
    at: float = 0.0  #: CLOCK_MONOTONIC, the same for all processes of the machine
    pid: int = 0
    job: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class History:
    """The file, for writers in any process and for the reader in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, event: Event, job: str | None = None, **facts: Any) -> float:
        """Append one line; when, by CLOCK_MONOTONIC."""
        now = time.monotonic()
        line = json.dumps({"event": event, "at": now, "pid": os.getpid(), "job": job, "facts": facts})
        os.write(self._file, line.encode() + b"\n")
        return now

    def entries(self) -> list[Entry]:
        """All lines so far, in the order in which they were written."""
        return list(self.since(0)[0])

    def since(self, offset: int) -> tuple[list[Entry], int]:
        """The whole lines after ``offset`` bytes, and the offset after them."""
        with self.path.open("rb") as lines:
            lines.seek(offset)
            data = lines.read()
        whole = data[: data.rfind(b"\n") + 1]
        return list(_parse(whole.splitlines())), offset + len(whole)


def _parse(lines: Iterable[bytes]) -> Iterable[Entry]:
    for line in lines:
        words = json.loads(line)
        yield Entry(**(words | {"event": Event(words["event"])}))
