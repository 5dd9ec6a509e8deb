"""The job as a value: what is stored, what the client sees, and how both are spelt in JSON.

Plain frozen dataclasses without third-party imports. Times are seconds since the epoch by Redis' clock, as float.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from jobs.errors import InvalidRequest
from jobs.kinds import Kind
from jobs.options import JobOptions
from jobs.states import JobState
from jobs.trace_context import TraceContext

JobId = NewType("JobId", str)
TenantId = NewType("TenantId", str)

#: The tenant of an installation without API keys.
LOCAL_TENANT = TenantId("local")

_JOB_ID = re.compile(r"job_[0-9a-f]{32}\Z")
_S3_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])/(?P<key>.+)\Z", re.DOTALL)
#: Bounds of a tenant's weight: one of them cannot stop the others, nor be stopped.
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
#: The longest that a tenant may have its things kept (seconds).
MAX_KEPT_S = 3650 * 86400
#: S3's own limit.
MAX_KEY_BYTES = 1024


def new_job_id() -> JobId:
    """128 random bits: unguessable, URL-safe, no dots (Standard Webhooks joins ids with dots)."""
    return JobId(f"job_{secrets.token_hex(16)}")


def is_job_id(text: str) -> bool:
    return _JOB_ID.match(text) is not None


class Priority(StrEnum):
    """Which lane a job waits in."""

    INTERACTIVE = "interactive"  #: a person waits
    BATCH = "batch"  #: throughput counts


class CallbackEvent(StrEnum):
    """What a callback may tell. Names follow the webhook event ``type``."""

    STARTED = "job.started"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


#: What a callback tells unless the submitter chooses.
TERMINAL_EVENTS = (CallbackEvent.COMPLETED, CallbackEvent.FAILED, CallbackEvent.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One object in S3-compatible storage."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> ObjectRef:
        """The object that an ``s3://bucket/key`` URI names.

        Raises:
            InvalidRequest: not such a URI, or the key is one that no honest caller writes
                (traversal, control characters, longer than 1,024 bytes).
        """
        match = _S3_URI.match(uri)
        if match is None:
            raise InvalidRequest("input must be a URI like s3://bucket/key", pointer="/input")
        key = match["key"]
        if len(key.encode()) > MAX_KEY_BYTES:
            raise InvalidRequest(f"the key is longer than {MAX_KEY_BYTES} bytes", pointer="/input")
        if any(ord(c) < 0x20 or ord(c) == 0x7F for c in key) or "\\" in key:
            raise InvalidRequest("the key holds control characters or backslashes", pointer="/input")
        if key.startswith("/") or any(part in {"", ".", ".."} for part in key.rstrip("/").split("/")):
            raise InvalidRequest("the key holds empty, '.' or '..' segments", pointer="/input")
        return cls(bucket=match["bucket"], key=key)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def public_uri(self) -> str:
        """As it may be told."""
        return self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRef:
    """A picture at an http(s) URL, where the operator allows such inputs (``PHOTOMEND_INPUT_URLS``)."""

    uri: str  #: whole, with its query: whoever signed it meant us only

    @property
    def public_uri(self) -> str:
        """Without the query, which may hold a signature."""
        address, mark, _ = self.uri.partition("?")
        return f"{address}{mark and '?…'}"


#: Where a job's picture may be.
InputRef = ObjectRef | UrlRef


def input_ref(uri: str) -> InputRef:
    """The picture that a record names. Whether a caller may name it is decided at submit.

    Raises:
        InvalidRequest: see ``ObjectRef.parse``.
    """
    return UrlRef(uri=uri) if is_web_url(uri) else ObjectRef.parse(uri)


def is_web_url(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What one submitter is entitled to. Those that nobody set up have the defaults."""

    id: TenantId
    weight: float = 1.0  #: its share of a busy fleet against the others'; 0.001 to 1000
    max_unfinished: int | None = None  #: jobs it may have waiting or running; None = ``max_waiting_jobs``
    #: What it may name as an input beside its own uploads and results: ``bucket`` or ``bucket/folder``. None: the local
    #: tenant everything that the installation can read, any other nothing.
    inputs: tuple[str, ...] | None = None
    #: Where its batches may deliver, in the same form and with the same default; never where installations keep jobs'.
    outputs: tuple[str, ...] | None = None
    megapixels_a_day: int | None = (
        None  #: of its pictures, estimated by bytes at submit, put right after; None = no limit
    )
    upload_bytes_a_day: int | None = None  #: of its uploads, as declared; None = no limit
    requests_per_min: int | None = None  #: calls of all its keys; 0 = no limit; None = ``tenant_requests_per_min``
    #: Seconds that its uploads, results and records of finished jobs are kept; what has its time already keeps that.
    #: None = as long as everybody's are.
    upload_ttl_s: int | None = None
    result_ttl_s: int | None = None
    record_ttl_s: int | None = None

    def __post_init__(self) -> None:
        if not MIN_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise InvalidRequest(f"weight must be {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, not {self.weight!r}")
        if self.max_unfinished is not None and self.max_unfinished < 0:
            raise InvalidRequest(f"max_unfinished must not be negative, but is {self.max_unfinished}")
        for place in (*(self.inputs or ()), *(self.outputs or ())):
            ObjectRef.parse(f"s3://{place.strip('/')}/x")
        if self.requests_per_min is not None and self.requests_per_min < 0:
            raise InvalidRequest(f"requests_per_min must not be negative, but is {self.requests_per_min}")
        for kept_s in (self.upload_ttl_s, self.result_ttl_s, self.record_ttl_s):
            if kept_s is not None and not 0 < kept_s <= MAX_KEPT_S:
                raise InvalidRequest(f"things are kept for 1 second to {MAX_KEPT_S // 86400} days, not {kept_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Where to tell about the job, and what."""

    url: str
    events: tuple[CallbackEvent, ...] = TERMINAL_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed; public."""

    code: str  #: stable, such as ``image_truncated``
    title: str  #: one sentence, the same for every failure of this code
    detail: str  #: this failure's own sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the submitter should know though the job succeeded."""

    code: str  #: stable, such as ``no_faces``
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running job is."""

    stage: str  #: one of ``fetch``, the pipeline's stages, ``store``
    percent: int  #: 0 to 100 of the whole job, never falling within one attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One stored result."""

    part: str  #: ``image``, ``mask``, ``comparison``, ``provenance``, ``faces/0``
    ref: ObjectRef
    content_type: str
    size: int  #: bytes
    sha256: str
    filename: str  #: what a browser should call it


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a successful job produced. ``faces``, ``model`` and ``metrics`` are the pipeline's own words as JSON."""

    artifacts: tuple[Artifact, ...]
    width: int  #: px
    height: int  #: px
    faces: tuple[dict[str, Any], ...] = ()
    warnings: tuple[Notice, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)  #: name, sha256, engine, precision, tile_px
    metrics: dict[str, float] = field(default_factory=dict)  #: seconds per stage, megapixels
    input_sha256: str | None = None  #: of the bytes that were worked on

    def artifact(self, part: str) -> Artifact | None:
        return next((a for a in self.artifacts if a.part == part), None)


class Decision(StrEnum):
    """What a person made of a result."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision of a person about a result."""

    decision: Decision
    at: float
    note: str = ""  #: the reviewer's own words
    by: str = ""  #: who it was, as the caller says


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A worker process that died by a fault of its own while it held the job."""

    cause: str  #: such as ``SIGSEGV``, ``hang``, ``memory``
    at: float
    attempt: int
    worker: str
    is_alone: bool  #: nothing else ran there, so it was this job; otherwise one of several, or a device
    stage: str | None = None  #: what the job was at, as far as it had told
    engine: str | None = None  #: what computed, with its version
    weights: tuple[str, ...] = ()  #: that were there: name and first digits of the SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. The record in Redis is the only truth; everything else may be lost, doubled or forged."""

    id: JobId
    tenant: TenantId  #: in whose backlog it waits
    input: InputRef
    kind: Kind = Kind.RESTORE
    options: JobOptions = field(default_factory=JobOptions)
    priority: Priority = Priority.INTERACTIVE
    callback: Callback | None = None
    metadata: dict[str, str] = field(default_factory=dict)  #: the submitter's own, echoed back
    deadline_s: float | None = None  #: from submission; later than that nobody wants the result
    input_bytes: int | None = None  #: as declared or seen at submit; the scheduler's first idea of cost
    input_etag: str | None = None  #: the storage's name for the version that is meant, without quotes
    input_sha256: str | None = None  #: of the bytes that are meant; hexadecimal
    input_type: str | None = None  #: media type that its bytes must have, as declared for an upload
    replay_of: JobId | None = None
    request_id: str | None = None  #: of the call that made it, for logs
    trace: TraceContext | None = None  #: the span that made it, parent of all that becomes of it
    batch: str | None = None  #: id of the batch whose item it is
    item: int | None = None  #: which line of that batch's manifest, from 0
    sheet: bool = False  #: small copies are wanted for the contact sheet of that batch's report

    state: JobState = JobState.QUEUED
    created_at: float = 0.0
    started_at: float | None = None  #: of the latest attempt
    completed_at: float | None = None
    attempt: int = 0  #: how many times a worker has claimed it
    epoch: int = 0  #: grows by one per claim; every later write must show it
    worker: str | None = None  #: who holds or held the lease
    lease_until: float | None = None  #: PROCESSING only; past it anyone may put the job back
    cancel_requested: bool = False
    progress: Progress | None = None
    revision: int = 0  #: grows with every change of the record; SSE and ETag
    result: Result | None = None  #: SUCCEEDED only
    failure: Failure | None = None  #: FAILED only
    is_suspect: bool = False  #: a process died under it: it runs alone until it has ended
    deaths: tuple[Death, ...] = ()
    dead_at: float | None = None  #: when it was given up: poison, or interrupted too often
    replayed_as: JobId | None = None  #: the last job that asked for the same again
    reviews: tuple[Review, ...] = ()  #: every decision about the result, the latest last
