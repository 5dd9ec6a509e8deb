"""A job and its events, as the service tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Events from the lines of a text/event-stream; comments and unknown fields are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in fields:
                value = f"{fields['data']}\n{value}"
            if name:
                fields[name] = value
        elif "data" in fields:
            job = Job.from_json(json.loads(fields["data"]))
            yield Event(kind=fields.get("event", "message"), revision=int(fields.get("id", "0")), job=job)
            fields = {}
