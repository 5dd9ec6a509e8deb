"""A job and its events, as the service tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the service tells it; ``raw`` is everything it said."""

    id: str
    status: str  #: queued, processing, succeeded, failed, canceled, expired
    stage: str | None = None  #: while it is processed
    percent: int = 0
    error: Mapping[str, str] | None = None  #: code, title, detail of a failed job
    faces: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[Mapping[str, str]] = ()
    output: Mapping[str, Any] | None = None  #: width, height and parts of a succeeded job
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_done(self) -> bool:
        return self.status in _TERMINAL

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Job:
        progress = said.get("progress") or {}
        return cls(
            id=said["id"],
            status=said["status"],
            stage=progress.get("stage"),
            percent=int(progress.get("percent") or 0),
            error=said.get("error"),
            faces=tuple(said.get("faces") or ()),
            warnings=tuple(said.get("warnings") or ()),
            output=said.get("output"),
            raw=said,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event of a job."""

    kind: str  #: ``progress``, or ``end`` with the whole job
    revision: int
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of ``restore``: the picture is in ``path``."""

    job: Job
    path: Path

    @property
    def faces(self) -> Sequence[Mapping[str, Any]]:
        """Every candidate with its box, score, status and reason."""
        return self.job.faces

    @property
    def warnings(self) -> Sequence[Mapping[str, str]]:
        """What to know though it succeeded: code and detail."""
        return self.job.warnings


class EventParser:
    """Events from the lines of a text/event-stream; comments and unknown fields are passed over."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Event | None:
        """The event that this line ends, if it ends one."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in self._fields:
                value = f"{self._fields['data']}\n{value}"
            if name:
                self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        job = Job.from_json(json.loads(fields["data"]))
        return Event(kind=fields.get("event", "message"), revision=int(fields.get("id", "0")), job=job)


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a whole text/event-stream."""
    parser = EventParser()
    for line in lines:
        event = parser.feed(line)
        if event is not None:
            yield event
