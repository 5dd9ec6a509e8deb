"""The fleet in figures, read from Redis in two calls: for /metrics and for ``photomend backlog``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backlog import BASE_COST, Slots
from jobs.batches.model import FOR_WORKERS, BatchState, ItemState
from jobs.connection import PREFIX, Scripts, as_record
from jobs.effort import UNMEASURED, Effort, effort_from, mean_effort
from jobs.model import Priority, TenantId

#: Suspects wait in a lane of their own.
SUSPECT = "suspect"
LANES = (*(str(priority) for priority in Priority), SUSPECT)

#: What one reading looks at, at most: running jobs whose priority is looked up, tenants of a lane, batches.
MOST_RUNNING, MOST_TENANTS, MOST_BATCHES = 2000, 2000, 1000
#: Items of a batch that have no row yet.
IN_FLIGHT, NOT_BEGUN = "in_flight", "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How things stand."""

    waiting: Mapping[str, int]  #: by lane, those on their way to a worker too
    sent: Mapping[str, int]  #: of these, on their way
    running: Mapping[str, int]  #: by priority
    oldest_s: Mapping[str, float]  #: by lane: age of the oldest that waits
    unfinished: int  #: jobs that wait or run
    estimated: float  #: their megapixels, by the bytes of their pictures
    to_come: (
        int  #: items of running batches that are no jobs yet, and one for each batch that waits for a worker to begin
    )
    effort: Effort  #: of the mean worker, or of the last one that was there
    is_measured: bool  #: whether any worker ever told it
    workers: int
    free: int  #: jobs that these could take now
    total: int  #: at a time
    callbacks_waiting: int
    callbacks_undelivered: int
    dead: int
    batches: Mapping[str, int]  #: that have not ended, by state
    items: Mapping[str, int]  #: of these, by state
    tally: Mapping[str, float]  #: what only grows; ``jobs/lua/_common.lua`` has the names

    @property
    def work_s(self) -> float:
        """Everything that waits, runs or is to come of batches, in seconds of one worker; what runs is counted whole.

        Of an item that is no job yet not even the bytes are known: it counts like the mean job that waits or runs.
        """
        mean = self.estimated / self.unfinished if self.unfinished else 0.0
        return self.effort.seconds(jobs=self.unfinished + self.to_come, estimated=self.estimated + self.to_come * mean)


def read_figures(scripts: Scripts, *, counts: Mapping[str, int], slots: Sequence[Slots]) -> Figures:
    """The figures now; ``counts`` and ``slots`` are what ``Backlog`` says of them.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    args = [MOST_RUNNING, MOST_TENANTS, MOST_BATCHES, *LANES]
    tally, load, last_effort, running, oldest, batches = scripts.call("figures", keys=[f"{PREFIX}leases"], args=args)
    unfinished, work = int(load[0]), float(load[1])
    efforts = [effort for slot in slots if (effort := effort_from(slot.effort)) is not None]
    remembered = effort_from(json.loads(last_effort)) if last_effort and not efforts else None
    return Figures(
        waiting={lane: counts[f"waiting_{lane}"] + counts.get(f"sent_{lane}", 0) for lane in LANES},
        sent={str(priority): counts[f"sent_{priority}"] for priority in Priority},
        running={lane: int(count) for lane, count in as_record(running).items() if lane != SUSPECT},
        oldest_s={lane: float(seconds) for lane, seconds in as_record(oldest).items()},
        unfinished=unfinished,
        estimated=max(0.0, work - BASE_COST * unfinished),
        to_come=_to_come(batches),
        effort=remembered or (mean_effort(efforts) if efforts else UNMEASURED),
        is_measured=bool(efforts) or remembered is not None,
        workers=sum(not slot.draining for slot in slots),
        free=sum(max(0, slot.free) for slot in slots),
        total=sum(slot.total for slot in slots),
        callbacks_waiting=counts["outbox"],
        callbacks_undelivered=counts["undelivered"],
        dead=counts["dead"],
        batches=_by_state(batches),
        items=_items(batches),
        tally={name: float(value) for name, value in as_record(tally).items()},
    )


def _by_state(batches: Sequence[Sequence[Any]]) -> dict[str, int]:
    states = (BatchState.PREPARING, BatchState.RUNNING, BatchState.PAUSED, BatchState.CANCELING, BatchState.COMPLETING)
    return {str(state): sum(told[0] == state for told in batches) for state in states}


def _to_come(batches: Sequence[Sequence[Any]]) -> int:
    """A batch keeps only so many jobs in the store at once, and waits for weights to pin: a fleet of none must wake."""
    running = [told for told in batches if told[0] == BatchState.RUNNING]
    beginning = [told for told in batches if told[0] == BatchState.PREPARING and told[7] == FOR_WORKERS]
    return _items(running)[NOT_BEGUN] + len(beginning)


def _items(batches: Sequence[Sequence[Any]]) -> dict[str, int]:
    ended = (ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELED)
    found = {str(state): sum(int(told[2 + i]) for told in batches) for i, state in enumerate(ended)}
    flying = sum(int(told[6]) for told in batches)
    begun = sum(found.values()) + flying
    return found | {IN_FLIGHT: flying, NOT_BEGUN: max(0, sum(int(told[1]) for told in batches) - begun)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one tenant has waiting."""

    tenant: TenantId
    waiting: Mapping[str, int]  #: by lane, without those on their way to a worker


def read_shares(scripts: Scripts, *, limit: int) -> tuple[Share, ...]:
    """Those who have most waiting, the first of them.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    told = scripts.call("shares", keys=[f"{PREFIX}tenants"], args=[limit, *LANES])
    return tuple(
        Share(tenant=TenantId(tenant), waiting=dict(zip(LANES, map(int, counts), strict=True)))
        for tenant, *counts in told
    )
