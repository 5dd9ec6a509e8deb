"""What waits, what was sent, and who could take it: the feeder's side of the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.connection import PREFIX, Scripts, job_key, translated
from jobs.model import JobId, Priority, Result

#: A worker's word about its slots holds for so many of its heartbeats.
HEARTBEATS_MISSED = 3.0

#: Cost is in megapixel equivalents. A file of so many bytes is taken for one megapixel until it has been decoded
#: (JPEG of photographic content at usual quality: 0.2 to 0.6 bytes per pixel).
BYTES_PER_MEGAPIXEL = 400_000
#: What a job costs whatever its size: storage, codecs, detection.
BASE_COST = 1.0
#: A face at 512 px through the restorer, in the same unit.
FACE_COST = 0.5
#: A connection that says nothing for longer counts as lost (seconds): well under ``connection.ANSWER_TIMEOUT_S``.
LONGEST_WAIT_S = 1.0
#: The most jobs that one call takes; keeps the script in the low milliseconds.
MAX_TAKE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """What one worker process could take now."""

    worker: str
    queues: tuple[str, ...]
    free: int
    total: int
    models: tuple[dict[str, Any], ...] = ()  #: name, sha256, licence, kind
    engine: str = ""
    heartbeat_s: float = 2.0  #: how often it says so
    draining: bool = False
    #: How its device was used since the process began: elapsed_s, idle_share, and by stage busy_s, runs, fill (faces or
    #: tiles in a run, in the mean).
    lane: dict[str, Any] = field(default_factory=dict)
    #: What it computes on: name, and of a GPU memory_mb and capability. Fleets mix them.
    device: dict[str, Any] = field(default_factory=dict)
    #: What a job takes of it (``jobs.effort.Effort`` as words); empty until it has done some.
    effort: dict[str, float] = field(default_factory=dict)
    rested: bool = True  #: False: it ran a suspect just now, or is in trouble; other jobs should have their turn


def estimated_cost(input_bytes: int | None) -> float:
    """What a job will probably cost, known at submit. Unknown sizes count as one megapixel."""
    return BASE_COST + (input_bytes if input_bytes is not None else BYTES_PER_MEGAPIXEL) / BYTES_PER_MEGAPIXEL


def actual_cost(result: Result) -> float:
    """What a job did cost: output megapixels and faces."""
    return BASE_COST + result.width * result.height / 1e6 + FACE_COST * len(result.faces)


def faces_of(result: Result) -> int:
    """Its faces that were restored, or found where that was all that was asked for."""
    return sum(face.get("status") in {"restored", "found"} for face in result.faces)


def megapixels_of(result: Result) -> float:
    """What its tenant's account of the day is charged: the size of the picture that was worked on."""
    return result.metrics.get("megapixels", result.width * result.height / 1e6)


class Backlog:
    """Backlogs of all tenants, in lanes."""

    def __init__(self, scripts: Scripts, *, resend_after_s: float) -> None:
        self._scripts = scripts
        self._resend_after_s = resend_after_s

    def take(self, *, credits: int, priority: Priority, sent: int | None = None) -> tuple[JobId, ...]:
        if credits <= 0:
            return ()
        args = [priority, min(credits, MAX_TAKE), "" if sent is None else sent]
        taken = self._scripts.call("take", keys=[f"{PREFIX}ring:{priority}"], args=args)
        return tuple(JobId(job_id) for job_id in taken)

    def nudged(self, *, within_s: float) -> bool:
        with translated():
            timeout = min(within_s, LONGEST_WAIT_S)
            return self._scripts.client.blpop([f"{PREFIX}nudge"], timeout=timeout) is not None

    def overdue_sent(
        self, *, limit: int, priorities: Iterable[Priority] = tuple(Priority)
    ) -> tuple[tuple[JobId, Priority], ...]:
        overdue: list[tuple[JobId, Priority]] = []
        for priority in priorities:
            left = limit - len(overdue)
            if left > 0:
                ids = self._scripts.call("resend", keys=[f"{PREFIX}sent:{priority}"], args=[self._resend_after_s, left])
                overdue += [(JobId(job_id), priority) for job_id in ids]
        return tuple(overdue)

    def counts(self) -> dict[str, int]:
        flat = self._scripts.call("counts", keys=[f"{PREFIX}leases"], args=[str(p) for p in Priority])
        return {str(name): int(count) for name, count in zip(flat[::2], flat[1::2], strict=True)}

    def publish_slots(self, slots: Slots) -> bool:
        words = json.dumps(dataclasses.asdict(slots), separators=(",", ":"))
        effort = json.dumps(slots.effort) if slots.effort else ""
        ttl_s = HEARTBEATS_MISSED * slots.heartbeat_s
        return bool(self._slots(slots.worker, words, ttl_s, free=slots.free, effort=effort))

    def seclude(self, worker: str, *, limit: int, ttl_s: float) -> bool:
        return bool(self._scripts.call("seclude", keys=[f"{PREFIX}secluded"], args=[worker, limit, ttl_s]))

    def hand_back(self, job_id: JobId) -> bool:
        return bool(self._scripts.call("hand_back", keys=[job_key(job_id)], args=[job_id]))

    def withdraw_slots(self, worker: str) -> None:
        self._slots(worker, "", 0.0)

    def slots(self) -> tuple[Slots, ...]:
        return tuple(_slots(json.loads(words)) for words in self._slots("", "", 0.0))

    def _slots(self, worker: str, words: str, ttl_s: float, *, free: int = 0, effort: str = "") -> list[str]:
        keys = [f"{PREFIX}slots", f"{PREFIX}workers"]
        answer: list[str] = self._scripts.call("slots", keys=keys, args=[worker, words, ttl_s, free, effort])
        return answer


def _slots(words: dict[str, Any]) -> Slots:
    # A newer worker may say more than we know.
    known = {f.name for f in dataclasses.fields(Slots)}
    kept = {name: value for name, value in words.items() if name in known}
    return Slots(**(kept | {"queues": tuple(kept["queues"]), "models": tuple(kept.get("models", ()))}))
