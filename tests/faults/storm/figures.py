"""From the outcome of a storm to its figures, and from the figures to which promise was broken. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tests.faults.checker import OUTAGES, Broken, drained_only
from tests.faults.history import Entry, Event
from tests.faults.storm.field import LEASE_S
from tests.faults.storm.run import Outcome

#: What is promised; see the README.
MAX_POISON_RUNS = 3
RECOVERY_S = {"process_kill": LEASE_S + 2.0, "redis_restart": 5.0}
OVERHEAD_MS = 5.0

#: Violations by the name of the figure that counts them.
COUNTS = {
    "lost": {Broken.LOST},
    "visible_duplicates": {Broken.VISIBLE_TWICE, Broken.ENDED_TWICE},
    "wrong_event_count": {Broken.WRONG_EVENTS},
    "wrong_results": {Broken.WRONG_RESULT},
    "zombie_writes": {Broken.ZOMBIE, Broken.TWO_OWNERS},
    "innocents_blamed": {Broken.INNOCENT_BLAMED},
    "attempts_charged_by_drains": {Broken.CHARGED},
    "poison_uncontained": {Broken.POISON_RUNS, Broken.POISON_SPARED},
    "records_unsubmitted": {Broken.UNSUBMITTED},
}


def figures(outcome: Outcome) -> dict[str, Any]:
    """Everything that can be counted."""
    history = outcome.history
    struck = [e for e in history if e.event is Event.STRUCK]
    kinds = Counter(e.facts["kind"] for e in struck)
    accepted = [e for e in history if e.event is Event.ACCEPTED]
    found: dict[str, set[str]] = defaultdict(set)
    for violation in outcome.violations:
        for name, promises in COUNTS.items():
            if violation.promise in promises:
                found[name].add(violation.job)
    return {
        "jobs": len(accepted),
        "faults": len(struck),
        "kinds": len(kinds),
        **{name: len(found[name]) for name in COUNTS},
        "poison_jobs": sum(e.facts["poison"] for e in accepted),
        "poison_max_runs": poison_max_runs(history),
        "recovery_p99_s": {name: percentile(times, 99) for name, times in recoveries(history).items()},
        "recoveries": {name: len(times) for name, times in recoveries(history).items()},
        "faults_by_kind": dict(sorted(kinds.items())),
        "faults_that_hit_nothing": sum(e.event is Event.MISSED for e in history),
        "sigterms": kinds["drain"],
        "sigterms_with_jobs_in_work": sum(bool(e.facts["jobs"]) for e in struck if e.facts["kind"] == "drain"),
        "drained_processes_checked": len(drained_only(history)),
        "zombie_writes_fenced": sum(e.event is Event.REFUSED for e in history),
        "claims": sum(e.event is Event.CLAIMED for e in history),
        "callbacks_received": sum(e.event is Event.TOLD for e in history),
        "callbacks_repeated_after_2xx": repeated_callbacks(history),
        "ended_in_time": outcome.ended,
        "doctor": outcome.doctor,
        "seconds": round(outcome.seconds, 1),
    }


def broken_promises(figures: dict[str, Any], *, timed: bool = True) -> list[str]:
    """In words; empty = all were kept. ``timed``: those of time, too, which a busy machine cannot keep."""
    broken = [f"{name} is {figures[name]}, promised is 0" for name in COUNTS if figures[name]]
    if not figures["ended_in_time"]:
        broken.append("not everything ended after the storm")
    if figures.get("faults_wanted", 0) > figures.get("faults", 0):
        broken.append(f"only {figures['faults']} of {figures['faults_wanted']} faults struck")
    if figures["poison_max_runs"] > MAX_POISON_RUNS:
        broken.append(f"poison ran {figures['poison_max_runs']} times alone, promised are {MAX_POISON_RUNS}")
    if timed:
        broken += _too_slow(figures)
    if figures["doctor"]:
        broken.append(f"the doctor found {len(figures['doctor'])} violations in the store")
    return broken


def _too_slow(figures: dict[str, Any]) -> list[str]:
    broken = []
    for name, limit in RECOVERY_S.items():
        p99 = figures["recovery_p99_s"].get(name)
        if p99 is not None and p99 > limit:
            broken.append(f"recovery after {name} took {p99} s (p99), promised are {limit} s")
    overhead = figures.get("overhead_ms_per_job")
    if overhead is not None and overhead > OVERHEAD_MS:
        broken.append(f"overhead is {overhead} ms a job, promised are {OVERHEAD_MS} ms")
    return broken


def recoveries(history: Sequence[Entry]) -> dict[str, list[float]]:
    """Seconds from a fault until its damage was made good: the jobs run again, or work is committed again.

    Of interactive jobs: a batch job lets those go first that came meanwhile. What an outage of Redis drew out is
    counted by itself.
    """
    batch = {e.job for e in history if e.event is Event.ACCEPTED and e.facts["lane"] == "batch"}
    claims: dict[str, list[float]] = defaultdict(list)
    commits = []
    for entry in history:
        if entry.event is Event.CLAIMED and entry.job:
            claims[entry.job].append(entry.at)
        elif entry.event is Event.MOVED and entry.facts["move"] == "commit":
            commits.append(entry.at)
    outages = [(e.facts["struck_at"], e.at) for e in history if e.event is Event.STRUCK and e.facts["kind"] in OUTAGES]
    found: dict[str, list[float]] = {
        "process_kill": [],
        "node_loss": [],
        "redis_restart": [],
        "kills_drawn_out_by_an_outage": [],
    }
    for entry in history:
        if entry.event is not Event.STRUCK:
            continue
        kind, facts = entry.facts["kind"], entry.facts
        if kind in {"kill-process", "kill-node"}:
            killed_at = facts["struck_at"]
            for took_s in _next(killed_at, (claims[job] for job in facts["jobs"] if job not in batch)):
                is_drawn_out = any(begin < killed_at + took_s and end > killed_at for begin, end in outages)
                name = "process_kill" if kind == "kill-process" else "node_loss"
                found["kills_drawn_out_by_an_outage" if is_drawn_out else name].append(took_s)
        elif kind == "redis-kill":
            found["redis_restart"] += _next(facts["back_at"], [commits])
    return found


def _next(after: float, times: Iterable[list[float]]) -> list[float]:
    """From ``after`` to the first of each list that is later."""
    found = []
    for each in times:
        ordered = sorted(each)
        index = bisect_right(ordered, after)
        if index < len(ordered):
            found.append(ordered[index] - after)
    return found


def poison_max_runs(history: Sequence[Entry]) -> int:
    """The most often that a picture that kills was run alone; runs that the storm itself cut short do not count."""
    poison = {e.job for e in history if e.event is Event.ACCEPTED and e.facts["poison"]}
    hurt = {pid for e in history if e.event is Event.STRUCK for pid in e.facts.get("pids", ())}
    alone = {(e.pid, e.job) for e in history if e.event is Event.CLAIMED and e.facts.get("alone")}
    runs = Counter(
        e.job
        for e in history
        if e.event is Event.BEGAN and e.job in poison and e.pid not in hurt and (e.pid, e.job) in alone
    )
    return max(runs.values(), default=0)


def repeated_callbacks(history: Sequence[Entry]) -> int:
    """Callbacks that came again though the receiver had taken them: at least once is promised, seldom more is hoped."""
    taken: Counter[str] = Counter(
        e.facts["id"] for e in history if e.event is Event.TOLD and 200 <= e.facts["status"] < 300
    )
    return sum(count - 1 for count in taken.values())


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that ``percent`` of 100 do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return round(ordered[int(rank) - 1], 3)
