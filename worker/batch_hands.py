"""What one keeper's runner holds of its batches, and what it works on them with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

import structlog

from jobs.backlog import Slots
from jobs.batches.manifest import Entry, Line
from jobs.batches.model import Batch, BatchState
from jobs.batches.store import Batches, Round
from jobs.blobs import Listed, ObjectInfo
from jobs.errors import ObjectError
from jobs.model import Failure, Job, JobId, ObjectRef, TenantId
from jobs.paces import Paces
from worker.batch_items import Place
from worker.batch_survey import Survey

logger = structlog.get_logger(__name__)

#: The storage's threads of one runner.
THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


class Blobs(Protocol):
    """The part of the object storage that the runner needs."""

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo: ...
    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes: ...
    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]: ...
    def copy(
        self, source: ObjectRef, to: ObjectRef, *, content_type: str, metadata: Mapping[str, str]
    ) -> ObjectInfo: ...
    def put(self, ref: ObjectRef, data: bytes | BinaryIO, *, content_type: str) -> ObjectInfo: ...
    def delete(self, refs: Sequence[ObjectRef]) -> None: ...


class Store(Protocol):
    """The part of the job store that the runner needs."""

    @property
    def batches(self) -> Batches: ...
    def slots(self) -> tuple[Slots, ...]: ...
    @property
    def paces(self) -> Paces: ...
    def cancel(self, job_id: JobId, *, tenant: TenantId | None = None) -> Job: ...


@dataclass(slots=True, kw_only=True)
class Work:
    """What a runner knows of one of its batches."""

    batch: Batch
    lines: Iterator[Line] | None = None  #: of the source, while it is prepared
    is_loaded: bool = False
    entries: dict[int, Entry] = field(default_factory=dict)  #: of open parts, by item
    pending: deque[int] = field(default_factory=deque)  #: items to be begun
    wait_until: float = 0.0  #: nothing new before that
    hold_until: float = 0.0  #: nothing at all before that: something was in trouble
    reconcile_at: float = 0.0
    has_canceled: bool = False  #: what is in flight
    survey: Survey | None = None  #: of a dry run
    is_over: bool = False  #: nothing is left to do here


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What the phases of a batch share: the stores, the limits, threads for the storage, and the lease."""

    store: Store
    blobs: Blobs
    place: Place
    window: int  #: jobs of a batch that are in flight at most
    lease_s: float
    max_pixels: int  #: of a picture, as workers take it
    clock: Callable[[], float]
    pool: ThreadPoolExecutor

    @property
    def batches(self) -> Batches:
        """The store's side of batches."""
        return self.store.batches

    def beat(self, work: Work) -> Round:
        """Keep the lease; what there is to do."""
        found = self.batches.beat(work.batch, lease_s=self.lease_s, limit=2 * self.window)
        work.batch = found.batch
        return found

    def keep(self, work: Work) -> None:
        """Renew the lease in the middle of something long."""
        self.batches.beat(work.batch, lease_s=self.lease_s, limit=0)

    def end(self, work: Work, failure: Failure) -> None:
        """Say that it ends before every item was tried."""
        logger.warning("batch is ended", code=failure.code, detail=failure.detail)
        work.batch = self.batches.end(work.batch, BatchState.FAILED, failure)

    def each(self, call: Callable[[T], R], things: Sequence[T]) -> list[R | ObjectError]:
        """What comes of each; trouble of the storage is an outcome like others, so that the rest is not lost."""

        def attempt(thing: T) -> R | ObjectError:
            try:
                return call(thing)
            except ObjectError as err:
                return err

        return list(self.pool.map(attempt, things)) if len(things) > 1 else [attempt(thing) for thing in things]


def raise_first(outcomes: Sequence[object]) -> None:
    """Raise the first of these that is an error."""
    for one in outcomes:
        if isinstance(one, Exception):
            raise one
