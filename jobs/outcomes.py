"""What the store is told and what it answers: small values, one page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobs.model import Job, JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """The caller's word that two requests are the same one."""

    key: str
    fingerprint: str  #: sha256 of the canonical request


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The outcome of a submit."""

    job: Job
    replayed: bool  #: an earlier submit with the same key made the job


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a tenant's jobs, newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None  #: None = there are no older ones
    unreadable: tuple[JobId, ...] = ()  #: those of this page whose records are of a newer form, or damaged


class ClaimRefusal(StrEnum):
    """Why a claim was not granted; the message that led to it is done with."""

    GONE = "gone"
    NOT_QUEUED = "not_queued"
    CANCELED = "canceled"
    DEADLINE = "deadline"  #: too late; the job has just been failed for it
    EXHAUSTED = "exhausted"  #: interrupted too often; the job has just been failed for it
    SUSPECT = "suspect"  #: it runs alone; see ``claim_suspect``
    SECLUDED = "secluded"  #: this worker is to run a suspect; the job will be sent elsewhere
    FORGED = "forged"  #: its record is not signed by us; the job has just been given up
    UNREADABLE = "unreadable"  #: it asks for what only newer workers know; its lease lapses, and it is sent again
    NONE = "none"  #: no suspect waits
    NOT_ALONE = "not_alone"  #: this worker holds other jobs


class Beat(StrEnum):
    """What a worker hears when it renews its lease."""

    OK = "ok"
    CANCEL = "cancel"  #: stop and call ``canceled``; the lease is not renewed any more
    DEADLINE = "deadline"  #: stop and fail; the lease is not renewed any more
    FENCED = "fenced"  #: the job is another attempt's; drop everything
