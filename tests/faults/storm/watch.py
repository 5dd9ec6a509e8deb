"""Follows the history while it grows: which process has what in work, and what has happened to whom."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict

from tests.faults.history import Event, History


class Watch:
    """Reads what is new on each question; safe from several threads."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._offset = 0
        self._lock = threading.Lock()
        self._open: dict[int, dict[str, int]] = defaultdict(dict)
        self._epochs: dict[str, int] = {}
        self._claimed_at: dict[str, float] = {}
        self._last_commit = 0.0
        self._began: set[str] = set()
        self._commits: Counter[str] = Counter()

    def busy(self) -> dict[int, dict[str, int]]:
        """Living worker processes, each with the epochs of the jobs that it has claimed and not ended."""
        with self._lock:
            self._read()
            return {pid: dict(jobs) for pid, jobs in self._open.items() if jobs and is_alive(pid)}

    def epoch(self, job: str) -> int:
        """The newest epoch of a job that was claimed; 0 = none."""
        with self._lock:
            self._read()
            return self._epochs.get(job, 0)

    def claimed_at(self, job: str) -> float:
        """When a job was claimed last; 0 = never."""
        with self._lock:
            self._read()
            return self._claimed_at.get(job, 0.0)

    def last_commit(self) -> float:
        """When a commit was acknowledged last."""
        with self._lock:
            self._read()
            return self._last_commit

    def commits(self, job: str) -> int:
        """How often a result of a job was made visible."""
        with self._lock:
            self._read()
            return self._commits[job]

    def has_begun(self, job: str) -> bool:
        with self._lock:
            self._read()
            return job in self._began

    def _read(self) -> None:
        fresh, self._offset = self._history.since(self._offset)
        for entry in fresh:
            if entry.job is None:
                continue
            if entry.event is Event.CLAIMED:
                self._open[entry.pid][entry.job] = entry.facts["epoch"]
                self._claimed_at[entry.job] = entry.at
                self._epochs[entry.job] = max(self._epochs.get(entry.job, 0), entry.facts["epoch"])
            elif entry.event in {Event.MOVED, Event.REFUSED}:
                self._open[entry.pid].pop(entry.job, None)
                if entry.event is Event.MOVED and entry.facts["move"] == "commit":
                    self._last_commit = entry.at
                    self._commits[entry.job] += 1
            elif entry.event is Event.BEGAN:
                self._began.add(entry.job)


def is_alive(pid: int) -> bool:
    """Whether it runs, or is stopped; not whether its parent has heard of its end."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - asked often
            return stat.read().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def kill(pid: int, number: int) -> bool:
    """Whether there was somebody to send it to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
