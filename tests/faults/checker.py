"""Proves from the history, the final records and the bucket that the promises were kept. Pure: it opens nothing.

After Jepsen: nothing that the system under test says about itself is believed unless those who saw it say the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from jobs.model import Job, JobId
from jobs.states import TERMINAL, JobState
from tests.faults.history import Entry, Event

#: A receiver's answer (HTTP 410) by which it ends the matter.
WANTS_NO_MORE = 410
#: The worker's last words about a job, and the state that each of them leads to.
ENDS = {"commit": JobState.SUCCEEDED, "fail": JobState.FAILED, "canceled": JobState.CANCELED}
TELLS = {
    "job.completed": JobState.SUCCEEDED,
    "job.failed": JobState.FAILED,
    "job.canceled": JobState.CANCELED,
}


_RESULT_KEY = re.compile(r"/job_[0-9a-f]{32}/(?P<epoch>\d+)-[0-9a-f]+/")


class Broken(StrEnum):
    """Which promise was broken."""

    LOST = "lost"  #: accepted, and never ended
    ENDED_TWICE = "ended_twice"  #: two ends were acknowledged, or one that the record does not show
    VISIBLE_TWICE = "visible_twice"  #: two results were made visible
    WRONG_RESULT = "wrong_result"  #: a visible result is missing, altered or another job's
    WRONG_EVENTS = "wrong_events"  #: not exactly one terminal event, or not the one that happened
    ZOMBIE = "zombie"  #: a write of an attempt that had lost the job was taken
    TWO_OWNERS = "two_owners"  #: one epoch was granted twice
    POISON_RUNS = "poison_runs"  #: a picture that kills ran more often than is allowed
    POISON_SPARED = "poison_spared"  #: a picture that kills ended in another way than as failed
    INNOCENT_BLAMED = "innocent_blamed"  #: a good job failed, or was canceled though nobody asked
    CHARGED = "charged"  #: a drain cost a job one of its attempts
    UNSUBMITTED = "unsubmitted"  #: a record that no accepted submit explains


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken promise."""

    promise: Broken
    job: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known in the end."""

    history: Sequence[Entry]
    records: Mapping[str, Job]
    objects: Mapping[str, str]  #: sha256 of every object that a record names and that is there, by key
    max_poison_runs: int = 4
    forgiven: frozenset[str] = frozenset()  #: codes with which a good job may fail in this scene


@dataclass(slots=True, kw_only=True)
class _Told:
    """What the history tells of one job."""

    accepted: dict[str, Any] | None = None
    cancel_asked: bool = False
    events: dict[Event, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    @property
    def moves(self) -> list[Entry]:
        return self.events[Event.MOVED]

    @property
    def claims(self) -> list[Entry]:
        return self.events[Event.CLAIMED]


def violations(scene: Scene) -> list[Violation]:
    """Every broken promise; empty = all were kept."""
    told: dict[str, _Told] = defaultdict(_Told)
    for entry in scene.history:
        if entry.job is None:
            continue
        about = told[entry.job]
        about.events[entry.event].append(entry)
        if entry.event is Event.ACCEPTED:
            about.accepted = entry.facts
        about.cancel_asked |= entry.event is Event.CANCEL_ASKED
    drained = drained_only(scene.history)
    found: list[Violation] = []
    for job_id in sorted({*told, *scene.records}):
        record = scene.records.get(JobId(job_id))
        for promise, how in _of_one(told[job_id], record, scene, drained):
            found.append(Violation(promise=promise, job=job_id, how=how))
    return found


Found = Iterator[tuple[Broken, str]]


def _of_one(told: _Told, record: Job | None, scene: Scene, drained: frozenset[int]) -> Found:
    if told.accepted is None:
        # A forged id leaves no record; a submit whose answer was lost is repeated under its key until it is accepted.
        if record is not None:
            yield Broken.UNSUBMITTED, f"a record in state {record.state}"
        return
    if record is None or record.state not in TERMINAL:
        yield Broken.LOST, "no record" if record is None else f"still {record.state}"
        return
    yield from _ends(told, record)
    yield from _owners(told, record)
    yield from _result(told, record, scene.objects)
    yield from _events(told, record)
    yield from _seen(told, record)
    yield from _blame(told, record, scene)
    yield from _charges(told, record, drained)


def _ends(told: _Told, record: Job) -> Found:
    ends = {(e.facts["move"], e.facts["epoch"]) for e in told.moves if e.facts["move"] in ENDS}
    if len(ends) > 1:
        yield Broken.ENDED_TWICE, f"ends {sorted(ends)} were all acknowledged"
    commits = {epoch for move, epoch in ends if move == "commit"}
    if len(commits) > 1:
        yield Broken.VISIBLE_TWICE, f"epochs {sorted(commits)} were all committed"
    for move, epoch in sorted(ends):
        if record.state not in {ENDS[move], JobState.EXPIRED}:
            yield Broken.ENDED_TWICE, f"{move} of epoch {epoch} was acknowledged, and the record says {record.state}"


def _owners(told: _Told, record: Job) -> Found:
    epochs = [e.facts["epoch"] for e in told.claims]
    for epoch in sorted({epoch for epoch in epochs if epochs.count(epoch) > 1}):
        yield Broken.TWO_OWNERS, f"epoch {epoch} was granted {epochs.count(epoch)} times"
    newest = max([*epochs, record.epoch])
    for entry in told.moves:
        epoch = entry.facts["epoch"]
        if entry.facts["move"] in ENDS and epoch != newest:
            yield Broken.ZOMBIE, f"{entry.facts['move']} of epoch {epoch} was taken, the newest is {newest}"
    if record.result is not None:
        for artifact in record.result.artifacts:
            epoch = epoch_of(artifact.ref.key)
            if epoch != record.epoch:
                yield Broken.ZOMBIE, f"the visible {artifact.part} is of epoch {epoch}, the record of {record.epoch}"


def _result(told: _Told, record: Job, objects: Mapping[str, str]) -> Found:
    assert told.accepted is not None
    if record.state is not JobState.SUCCEEDED:
        return
    artifacts = record.result.artifacts if record.result else ()
    if not any(artifact.part == "image" for artifact in artifacts):
        yield Broken.WRONG_RESULT, "succeeded without a picture"
    for artifact in artifacts:
        stored = objects.get(artifact.ref.key)
        if stored is None:
            yield Broken.WRONG_RESULT, f"{artifact.part} is named by the record and not stored"
        elif stored != artifact.sha256:
            yield Broken.WRONG_RESULT, f"the stored {artifact.part} is not the one that the record describes"
        elif artifact.part == "image" and stored != told.accepted["result"]:
            yield Broken.WRONG_RESULT, "the picture is not this job's"


def _events(told: _Told, record: Job) -> Found:
    assert told.accepted is not None
    came = [e for e in told.events[Event.TOLD] if e.facts["type"] in TELLS]
    ids = {e.facts["id"] for e in came}
    if len(ids) != (1 if told.accepted["callback"] else 0):
        yield Broken.WRONG_EVENTS, f"{len(ids)} terminal events"
        return
    for entry in came:
        if record.state not in {TELLS[entry.facts["type"]], JobState.EXPIRED}:
            yield Broken.WRONG_EVENTS, f"was told {entry.facts['type']}, and the record says {record.state}"
            return
    if came and not any(200 <= e.facts["status"] < 300 or e.facts["status"] == WANTS_NO_MORE for e in came):
        yield Broken.WRONG_EVENTS, "its event was given up before the receiver took it"


def _seen(told: _Told, record: Job) -> Found:
    """What was visible once stays: a reader must never see a terminal record change."""
    sights = [e.facts for e in told.events[Event.SEEN]]
    for then, later in pairwise([*sights, {"state": record.state, "keys": keys_of(record)}]):
        if later["state"] == JobState.EXPIRED:
            continue
        if then["state"] != later["state"]:
            yield Broken.ENDED_TWICE, f"a reader saw {then['state']}, later {later['state']}"
        elif then["keys"] != later["keys"]:
            yield Broken.VISIBLE_TWICE, f"a reader saw {then['keys']}, later {later['keys']}"


def _blame(told: _Told, record: Job, scene: Scene) -> Found:
    assert told.accepted is not None
    code = record.failure.code if record.failure else None
    if record.state is JobState.CANCELED:
        if not told.cancel_asked:
            yield Broken.INNOCENT_BLAMED, "canceled, and nobody had asked"
    elif not told.accepted["poison"]:
        if record.state is JobState.FAILED and code not in scene.forgiven:
            yield Broken.INNOCENT_BLAMED, f"failed with {code}"
    elif record.state is not JobState.FAILED:
        yield Broken.POISON_SPARED, f"a picture that kills ended as {record.state}"
    # The design counts deaths by the picture's own doing: a run that another fault ended proves nothing about it.
    interrupted = interrupted_runs(scene.history)
    runs = sum((run.pid, run.job) not in interrupted for run in told.events[Event.BEGAN])
    if told.accepted["poison"] and runs > scene.max_poison_runs:
        yield Broken.POISON_RUNS, f"ran {runs} times, {scene.max_poison_runs} are allowed"


def _charges(told: _Told, record: Job, drained: frozenset[int]) -> Found:
    closed = {(e.pid, e.facts["epoch"]): e for e in (*told.moves, *told.events[Event.REFUSED])}
    # A process that was told to leave and was then killed by a picture: that death is what was charged.
    died = {pid for pid in drained if any(f":{pid}:" in death.worker for death in record.deaths)}
    by_drain = others = 0
    for claim in told.claims:
        close = closed.get((claim.pid, claim.facts["epoch"]))
        if close is not None and not (close.facts["move"] == "release" and close.facts.get("charge")):
            continue
        if claim.pid in drained - died and close is None:
            by_drain += 1
        else:
            others += 1
    # A drained process that was gone between its release and its note about it left no charge in the record.
    if by_drain and record.attempt > 1 + others:
        yield Broken.CHARGED, f"attempt {record.attempt} after {others} interruptions that count"


#: One that missed its aim may have hurt its process all the same.
FAULTS = frozenset({Event.STRUCK, Event.MISSED})
#: Kinds of faults that keep workers from Redis.
OUTAGES = frozenset({"redis-kill", "redis-stall", "partition"})


def interrupted_runs(history: Sequence[Entry]) -> frozenset[tuple[int, str]]:
    """Process and job of every run that another fault struck; what a killing picture does itself is not among these.

    Also of a run whose process was cut off from Redis, and whose last word came too late for that.
    """
    tried = [e for e in history if e.event in FAULTS]
    others = [e for e in tried if not e.facts["kind"].startswith("poison")]
    struck = {(pid, job) for e in others for pid in e.facts.get("pids", ()) for job in e.facts.get("jobs", ())}
    cut_off = {pid for e in others if e.facts["kind"] in OUTAGES for pid in e.facts.get("pids", ())}
    late = {(e.pid, e.job) for e in history if e.event is Event.REFUSED and e.job and e.pid in cut_off}
    return frozenset(struck | late)


def drained_only(history: Sequence[Entry]) -> frozenset[int]:
    """The processes that were told to leave and met no other fault."""
    drained: set[int] = set()
    hurt: set[int] = set()
    for entry in history:
        if entry.event in FAULTS:
            (drained if entry.facts["kind"] == "drain" else hurt).update(entry.facts.get("pids", ()))
    return frozenset(drained - hurt)


def keys_of(record: Job) -> list[str]:
    """Keys of the objects that a record makes visible."""
    return [artifact.ref.key for artifact in record.result.artifacts] if record.result else []


def epoch_of(key: str) -> int:
    """The epoch of the attempt that a result's key belongs to: ``results/<tenant>/<job>/<epoch>-<unique>/<part>``."""
    match = _RESULT_KEY.search(key)
    return int(match["epoch"]) if match else 0
