"""The states of a job and the moves between them. The Lua scripts refuse the same pairs; tests compare both."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. Values are stored and public."""

    QUEUED = "queued"  #: accepted; waits in its tenant's backlog or has been sent to a worker
    PROCESSING = "processing"  #: one worker holds a lease
    SUCCEEDED = "succeeded"  #: the result is set and stays until it expires
    FAILED = "failed"  #: the failure is set; it will not be tried again
    CANCELED = "canceled"  #: its owner asked
    EXPIRED = "expired"  #: its objects are gone; the record remains for a while


#: Every legal move; nothing else is legal.
MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PROCESSING, JobState.CANCELED, JobState.FAILED}),
    JobState.PROCESSING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}),
    JobState.SUCCEEDED: frozenset({JobState.EXPIRED}),
    JobState.FAILED: frozenset({JobState.EXPIRED}),
    JobState.CANCELED: frozenset({JobState.EXPIRED}),
    JobState.EXPIRED: frozenset(),
}

#: A job under which so many processes died by their own fault, while it ran alone, is poison.
MAX_DEATHS = 3

TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})
