"""What jobs take of a worker, as measured: turns a backlog into seconds, for whoever decides how many workers to run.

A process with ``n`` jobs at a time, each of which takes ``lane_s`` of the device and ``host_s`` beside it, ends one
every ``max(lane_s, (lane_s + host_s) / n)`` seconds: either the device is the bottleneck or the threads are. The
device's part is told by what it grows with, megapixels or faces; what the threads need on top belongs to every job.
Source: the asymptotic bounds of closed queueing networks (Denning and Buzen, The Operational Analysis of Queueing
Network Models, 1978).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a job takes of one worker process, in seconds, and what its jobs are like; means of the latest ones."""

    job_s: float  #: whatever is in the picture
    megapixel_s: float  #: for each megapixel of it
    face_s: float  #: for each of its faces
    faces: float  #: of a picture, in the mean
    megapixels: float  #: of a picture for each that its bytes were taken for (``backlog.BYTES_PER_MEGAPIXEL``)

    def seconds(self, *, jobs: float, estimated: float) -> float:
        """What so many jobs take, of whose pictures only the bytes are known: ``estimated`` megapixels by them."""
        per_job_s = self.job_s + self.faces * self.face_s
        return jobs * per_job_s + estimated * self.megapixels * self.megapixel_s

    def to_json(self) -> str:
        return json.dumps({name: round(value, 6) for name, value in dataclasses.asdict(self).items()})


#: Until the first job was measured: a second a job and a megapixel, about what a CPU takes for a preview.
UNMEASURED = Effort(job_s=1.0, megapixel_s=1.0, face_s=0.0, faces=0.0, megapixels=1.0)


def effort_from(words: dict[str, Any]) -> Effort | None:
    """The effort that a worker told; None where it told none, or in words of another version."""
    try:
        return Effort(**{field.name: float(words[field.name]) for field in dataclasses.fields(Effort)})
    except (KeyError, TypeError, ValueError):
        return None


def mean_effort(efforts: Sequence[Effort]) -> Effort:
    """That of the mean worker of a fleet, each counted alike; of none, the one that nobody measured."""
    if not efforts:
        return UNMEASURED
    names = [field.name for field in dataclasses.fields(Effort)]
    return Effort(**{name: sum(getattr(effort, name) for effort in efforts) / len(efforts) for name in names})
