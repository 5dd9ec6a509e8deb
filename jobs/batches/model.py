"""A batch as a value: what was asked for, where it is, and how far it has got."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from jobs.batches.estimate import Estimate
from jobs.batches.manifest import Manifest, ManifestFormat, Prefix
from jobs.batches.naming import DEFAULT
from jobs.codec import dump_json, trace_from_json, trace_to_json
from jobs.delivery.recipe import recipe_sha256
from jobs.model import Failure, JobId, ObjectRef, Priority, TenantId
from jobs.options import JobOptions
from jobs.price import Price
from jobs.trace_context import TraceContext

BatchId = NewType("BatchId", str)

_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}\Z")
#: Rows of one part of the report, and lines of one piece of the pinned manifest.
PART_ROWS = 1000
#: What a batch waits for that cannot be pinned before a worker has said which weights it has.
FOR_WORKERS = "workers"
#: Metadata of a result that says what it is a result of.
IDENTITY_METADATA = "photomend-identity"
BATCH_METADATA = "photomend-batch"


def new_batch_id() -> BatchId:
    """128 random bits: unguessable, URL-safe."""
    return BatchId(f"batch_{secrets.token_hex(16)}")


def is_batch_id(text: str) -> bool:
    return _BATCH_ID.match(text) is not None


class BatchState(StrEnum):
    """Where a batch is. Values are stored and public."""

    PREPARING = "preparing"  #: its manifest is being read, checked and pinned
    RUNNING = "running"  #: items are submitted, delivered and written down
    PAUSED = "paused"  #: what is in flight goes on; nothing new begins
    CANCELING = "canceling"  #: nothing new begins; every item left gets its row
    COMPLETING = "completing"  #: every item has its row; the report is being put together
    SUCCEEDED = "succeeded"  #: to its end; single items may have failed
    FAILED = "failed"  #: its manifest, its deadline or too many failures ended it
    CANCELED = "canceled"  #: its owner asked


#: Every legal move; the Lua scripts refuse the same pairs (a test compares).
MOVES: dict[BatchState, frozenset[BatchState]] = {
    # A dry run has nothing to run.
    BatchState.PREPARING: frozenset(
        {BatchState.RUNNING, BatchState.CANCELING, BatchState.COMPLETING, BatchState.FAILED}
    ),
    BatchState.RUNNING: frozenset({BatchState.PAUSED, BatchState.CANCELING, BatchState.COMPLETING}),
    BatchState.PAUSED: frozenset({BatchState.RUNNING, BatchState.CANCELING, BatchState.COMPLETING}),
    BatchState.CANCELING: frozenset({BatchState.COMPLETING, BatchState.FAILED}),
    BatchState.COMPLETING: frozenset({BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELED}),
    # retry-failed
    BatchState.SUCCEEDED: frozenset({BatchState.RUNNING}),
    BatchState.FAILED: frozenset({BatchState.RUNNING}),
    BatchState.CANCELED: frozenset({BatchState.RUNNING}),
}

ENDED = frozenset({BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELED})


class ItemState(StrEnum):
    """What became of one line of the manifest."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"  #: its result was there already, made from the same source by the same recipe and weights
    FAILED = "failed"
    CANCELED = "canceled"


#: What ``retry-failed`` tries again.
RETRIED = frozenset({ItemState.FAILED, ItemState.CANCELED})


class BatchEvent(StrEnum):
    """What a callback may tell."""

    COMPLETED = "batch.completed"
    FAILED = "batch.failed"
    CANCELED = "batch.canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """What its owner asked for; never rewritten."""

    source: Manifest | Prefix
    output: ObjectRef  #: the key is a prefix; it ends in a slash
    options: JobOptions = field(default_factory=lambda: JobOptions(precision="exact"))
    naming: str = DEFAULT
    report: str = "all"  #: or ``failed``: only rows that failed or were canceled
    priority: Priority = Priority.BATCH
    failure_threshold: float | None = None  #: share of the items done; with more failures the batch is ended
    deadline_s: float | None = None  #: from submission
    callback_url: str | None = None
    callback_events: tuple[BatchEvent, ...] = tuple(BatchEvent)
    metadata: Mapping[str, str] = field(default_factory=dict)
    redo_of: BatchId | None = None  #: whose results are made otherwise here, as versions beside them
    dry_run: bool = False  #: only say what it would come to
    trace: TraceContext | None = None  #: the span that made it; its items begin traces of their own, linked to it

    @property
    def base(self) -> str:
        """The source prefix, below which names begin."""
        return self.source.prefix if isinstance(self.source, Prefix) else ""

    @property
    def source_uri(self) -> str:
        """Where the items come from."""
        source = self.source
        return f"s3://{source.bucket}/{source.prefix}" if isinstance(source, Prefix) else source.ref.uri

    def to_json(self) -> str:
        """The same text for the same value: it is signed."""
        if isinstance(self.source, Prefix):
            source: dict[str, Any] = {
                "bucket": self.source.bucket,
                "prefix": self.source.prefix,
                "include": list(self.source.include),
                "exclude": list(self.source.exclude),
            }
        else:
            source = {"manifest": self.source.ref.uri, "etag": self.source.etag, "format": str(self.source.format)}
        return dump_json(
            {
                "source": source,
                "output": self.output.uri,
                "options": self.options.to_mapping(),
                "naming": self.naming,
                "report": self.report,
                "priority": str(self.priority),
                "failure_threshold": self.failure_threshold,
                "deadline_s": self.deadline_s,
                "callback": self.callback_url and {"url": self.callback_url, "events": list(self.callback_events)},
                "metadata": dict(self.metadata),
            }
            | ({"redo_of": self.redo_of} if self.redo_of else {})
            | ({"dry_run": True} if self.dry_run else {})
            | ({"trace": trace_to_json(self.trace)} if self.trace else {})
        )

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> BatchSpec:
        said, callback = words["source"], words.get("callback")
        source: Manifest | Prefix
        if "manifest" in said:
            form = ManifestFormat(said["format"])
            source = Manifest(ref=ObjectRef.parse(said["manifest"]), etag=said["etag"], format=form)
        else:
            source = Prefix(
                bucket=said["bucket"],
                prefix=said["prefix"],
                include=tuple(said["include"]),
                exclude=tuple(said["exclude"]),
            )
        return cls(
            source=source,
            output=ObjectRef.parse(words["output"]),
            options=JobOptions.from_mapping(words["options"]),
            naming=words["naming"],
            report=words["report"],
            priority=Priority(words["priority"]),
            failure_threshold=words["failure_threshold"],
            deadline_s=words["deadline_s"],
            callback_url=callback["url"] if callback else None,
            callback_events=tuple(BatchEvent(e) for e in callback["events"]) if callback else tuple(BatchEvent),
            metadata=words["metadata"],
            redo_of=words.get("redo_of"),
            dry_run=words.get("dry_run", False),
            trace=trace_from_json(words.get("trace")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What a batch is done with from its first item to its last."""

    model: str
    background: str
    precision: str
    weights: Mapping[str, str]  #: name of every network of the fleet → SHA-256
    always: tuple[str, ...] = ()  #: of these, the ones that take part whatever is asked for
    engines: tuple[str, ...]  #: as workers call them

    def to_json(self) -> str:
        return dump_json(
            {
                "model": self.model,
                "background": self.background,
                "precision": self.precision,
                "weights": dict(self.weights),
                "always": list(self.always),
                "engines": list(self.engines),
            }
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of devices that it was begun on, such as ``cuda``."""
        kinds = {engine.rpartition(" on ")[2].partition(":")[0] for engine in self.engines if " on " in engine}
        return tuple(sorted(kinds))

    def taking_part(self, options: JobOptions) -> dict[str, str]:
        """Network → SHA-256 of those that make a result with these options."""
        names = {*self.always, options.model or self.model, options.background}
        return {name: sha256 for name, sha256 in self.weights.items() if name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many items are what."""

    succeeded: int = 0
    skipped: int = 0
    failed: int = 0
    canceled: int = 0

    @property
    def done(self) -> int:
        """Those that have their row."""
        return self.succeeded + self.skipped + self.failed + self.canceled


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewCounts:
    """How many items a person should look at, and what was decided."""

    flagged: int = 0
    pending: int = 0  #: of these, those that nobody has decided about
    accepted: int = 0  #: by the latest decision, flagged or not
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as it is now."""

    id: BatchId
    tenant: TenantId
    spec: BatchSpec
    state: BatchState
    created_at: float
    started_at: float | None = None  #: when it was prepared and began
    completed_at: float | None = None
    revision: int = 0
    epoch: int = 0  #: grows with every runner; a write must show it
    generation: int = 1  #: grows with every retry-failed
    total: int = 0  #: lines of the manifest that are pinned
    is_prepared: bool = False  #: all of them are
    pieces: int = 0  #: of the pinned manifest
    cursor: str = ""  #: where the source is read on, while it is prepared
    next_part: int = 0  #: the first part that was not begun in this generation
    in_flight: int = 0
    counts: Counts = field(default_factory=Counts)
    review: ReviewCounts = field(default_factory=ReviewCounts)
    gpu_s: float = 0.0
    megapixels: float = 0.0
    rate: float = 0.0  #: items a second, lately
    pins: Pins | None = None
    price: Price | None = None  #: of an hour of a device when it was submitted
    estimate: Estimate | None = None  #: of a dry run
    ending: BatchState | None = None  #: how it will end though not every item was tried
    failure: Failure | None = None
    note: str = ""  #: what it waits for
    deadline: float | None = None
    request_id: str | None = None


def job_id(batch: BatchId, generation: int, item: int) -> JobId:
    """The one job of an item in a generation: whoever submits it again finds it."""
    digest = hashlib.sha256(f"{batch} {generation} {item}".encode()).hexdigest()
    return JobId(f"job_{digest[:32]}")


def identity(*, source: str, options: JobOptions, pins: Pins) -> str:
    """What a result is a result of: SHA-256 over source and recipe. The same again need not be made again.

    ``source`` is the source's SHA-256 where it is known, else its address and version.
    """
    recipe = recipe_sha256(options.to_mapping(), pins.taking_part(options))
    return hashlib.sha256(f"{source} {recipe}".encode()).hexdigest()
