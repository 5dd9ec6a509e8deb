"""One storm: traffic, faults in a seeded order, calm, and the proof."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import JobNotFound, ObjectMissing
from jobs.model import Job, JobId, ObjectRef
from jobs.store import JobStore
from tests.faults.checker import Scene, Violation, keys_of, violations
from tests.faults.history import Entry
from tests.faults.pictures import sha256
from tests.faults.storm.field import Field, until
from tests.faults.storm.strikes import Strikes
from tests.faults.storm.traffic import Traffic, wishes

#: Each kind comes equally often but these, which cost the most processes.
RARE = {"kill-node": 0.5, "poison-segfault": 0.25, "poison-abort": 0.25, "poison-memory": 0.25, "poison-loop": 0.25}
#: A fault that hit nothing is tried again with the next aim; so many misses in all are too many.
MISSES_PER_FAULT = 1.0
#: How long everything may take to end once all is calm (seconds): suspects run one after the other.
CALM_S = 240.0
#: Gap between two drains of the phase in which nothing else happens (seconds).
DRAIN_GAP_S = (0.05, 0.8)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a storm left, and what is wrong with it."""

    history: list[Entry]
    records: dict[str, Job]
    violations: list[Violation]
    ended: bool  #: everything came to its end in time
    seconds: float
    doctor: list[str]  #: violations of the store's own invariants


def plan(kinds: list[str], faults: int, rng: random.Random) -> list[str]:
    """The kinds in the order in which they strike: every kind before any comes again too often."""
    weights = [RARE.get(kind, 1.0) for kind in kinds]
    drawn = kinds[:] if faults >= len(kinds) else []
    drawn += rng.choices(kinds, weights, k=faults - len(drawn))
    rng.shuffle(drawn)
    return drawn


def storm(*, seed: int, jobs: int, faults: int, drains: int, folder: Path, tell: Tell) -> Outcome:
    """Everything from an empty installation to the proof."""
    began = time.monotonic()
    rng = random.Random(seed)
    planned = wishes(jobs, rng)
    with Field(folder) as field:
        traffic = Traffic(field, planned)
        strikes = Strikes(field, traffic, rng)
        traffic.start()
        # Traffic is shared out by time: a drain takes about a third as long as another fault.
        drained = drains / (drains + 3 * faults) if drains else 0.0
        drain_phase(strikes, traffic, drains, share=drained, rng=rng, tell=tell)
        strike_phase(strikes, traffic, plan(sorted(strikes.kinds), faults, rng), begin=drained, tell=tell)
        traffic.allow(1.0)
        ended = _calm(field, traffic, tell)
        traffic.stop()
        field.stop_processes()
        return _prove(field, traffic, ended=ended, began=began)


def drain_phase(
    strikes: Strikes, traffic: Traffic, drains: int, *, share: float, rng: random.Random, tell: Tell
) -> None:
    """SIGTERM at random instants, while nothing else goes wrong."""
    struck = missed = 0
    while struck < drains and missed <= drains:
        traffic.allow(share * (struck + 1) / drains)
        time.sleep(rng.uniform(*DRAIN_GAP_S))
        if strikes.strike("drain"):
            struck += 1
        else:
            missed += 1
        tell(f"drains {struck}/{drains}, jobs accepted {len(traffic.accepted)}")


def strike_phase(
    strikes: Strikes,
    traffic: Traffic,
    kinds: list[str],
    *,
    begin: float,
    tell: Tell,
    misses_per_fault: float = MISSES_PER_FAULT,
) -> None:
    """Every kind in its turn; one that hits nothing comes again later, until too much has missed."""
    struck: Counter[str] = Counter()
    misses = 0
    queue = kinds[:]
    while queue and misses <= misses_per_fault * len(kinds):
        done = struck.total()
        traffic.allow(begin + (1 - begin) * (done + 1) / len(kinds))
        kind = queue.pop(0)
        if strikes.strike(kind):
            struck[kind] += 1
        else:
            misses += 1
            queue.append(kind)
        tell(f"faults {struck.total()}/{len(kinds)}, last {kind}, jobs accepted {len(traffic.accepted)}")


def _calm(field: Field, traffic: Traffic, tell: Tell) -> bool:
    """Nothing strikes any more: whether everything ends, and every event is told, in time."""
    field.heal()
    store = JobStore.connect(field.settings)

    def over() -> bool:
        left, told = traffic.left(), store.counts()["outbox"]
        tell(f"calm: {left} jobs and {told} callbacks left")
        time.sleep(0.5)
        return traffic.is_done and not left and not told

    ended = until(over, CALM_S)
    store.close()
    return ended


def _prove(field: Field, traffic: Traffic, *, ended: bool, began: float) -> Outcome:
    store, blobs = JobStore.connect(field.settings), field.fleet.blobs
    records: dict[str, Job] = {}
    objects: dict[str, str] = {}
    for job_id in traffic.accepted:
        try:
            records[job_id] = store.get(job_id)
        except JobNotFound:
            continue
        for key in keys_of(records[job_id]):
            try:
                objects[key] = sha256(blobs.get(ObjectRef(bucket=field.settings.bucket, key=key), max_bytes=1 << 20))
            except ObjectMissing:
                continue
    doctor = [f"{v.subject}: {v.problem}" for v in store.doctor().examine()]
    for subject in {words.split(":")[0] for words in doctor}:
        if subject.startswith("job_") and subject not in records:
            records[subject] = store.get(JobId(subject))
    store.close()
    history = field.history.entries()
    scene = Scene(history=history, records=records, objects=objects)
    return Outcome(
        history=history,
        records=records,
        violations=violations(scene),
        ended=ended,
        seconds=time.monotonic() - began,
        doctor=doctor,
    )
