"""What people decide about a batch's results: which items they should look at, and what they said.

Jobs of a batch go once their rows are written, so decisions cannot stay in them, and a batch may be of millions. What
Redis holds is bounded whatever the batch and whatever is decided:

- three bitmaps, a bit an item: flagged, accepted, rejected (the latest decision). A million items cost 3 x 125 kB, and
  the queue of what waits for a decision is found in them alone;
- the decisions that are not in storage yet, at most ``MOST_WAITING`` of some 150 bytes.

Rows are read where they lie already: in the report's parts, or in Redis while their part is open. Decisions are a log
that only grows: every ``CHUNK`` of them is stored as one object under a name that its place in the log gives it. A
chunk never changes, so whoever stores it, and however often, stores the same bytes; then its decisions are cut off in
Redis, by whoever is first. Nothing is read, changed and written back, so no two reviewers and no crash lose a decision.

A report that is there when a decision is made is made anew a little later, with everything that was decided.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

import structlog

from jobs.batches.model import Batch, BatchId
from jobs.blobs import ObjectInfo
from jobs.connection import PREFIX, Scripts, translated
from jobs.delivery.rows import DecisionNote
from jobs.errors import ObjectError, StoreUnavailable
from jobs.model import Decision, ObjectRef, Review, TenantId
from jobs.view import timestamp

logger = structlog.get_logger(__name__)

#: Decisions of one object in storage.
CHUNK = 1000
#: Decisions that may wait for the storage while it is away.
MOST_WAITING = 5 * CHUNK
#: After the last decision a report is made anew (seconds): a reviewer decides every few.
QUIET_S = 30.0
#: How long a keeper has a report that is made anew (seconds).
REPORT_LEASE_S = 1800.0
_MAX_CHUNK_BYTES = 64 << 20
#: Bytes of a bitmap that are looked at in one go.
_WINDOW = 4096


class Which(StrEnum):
    """Which items of a batch a reviewer asks for."""

    PENDING = "pending"  #: flagged, and nobody has decided yet
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ALL = "all"  #: flagged or decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One decision about one item."""

    item: int  #: from 0
    review: Review


class Objects(Protocol):
    """The part of the object storage that decisions need."""

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes: ...
    def put(self, ref: ObjectRef, data: bytes | BinaryIO, *, content_type: str) -> ObjectInfo: ...


class TooManyWaiting(StoreUnavailable):
    """Raised when decisions could not be stored for so long that no more are taken."""


class Reviews:
    """The store's side of review. Safe to share between threads."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def decide(
        self,
        batch: Batch,
        item: int,
        decision: Decision,
        *,
        tenant: TenantId,
        note: str = "",
        by: str = "",
        blobs: Objects,
        bucket: str,
    ) -> Review:
        """Write a decision down; the latest one counts, all of them are kept.

        Raises:
            TooManyWaiting: the storage is away, and too many decisions wait for it.
            StoreUnavailable: Redis did not answer.
        """
        args = [batch.id, tenant, item, decision, note, by, MOST_WAITING, QUIET_S]
        answer = self._scripts.call("batch_decide", keys=[_key(batch.id)], args=args)
        if answer[0] == "full":
            raise TooManyWaiting(f"{MOST_WAITING} decisions of {batch.id} wait for the storage")
        if answer[0] == "gone":
            raise StoreUnavailable(f"{batch.id} went away")
        if int(answer[2]) >= CHUNK:
            self._store(batch, blobs, bucket)
        return _said(answer[1]).review

    def items(self, batch_id: BatchId, which: Which, *, start: int = 0) -> Iterator[int]:
        """Items of one kind from ``start`` on, in the manifest's order.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        window = start // 8 // _WINDOW * _WINDOW
        while True:
            maps = [self._bits(batch_id, name, window) for name in ("flagged", "accepted", "rejected")]
            if not any(maps) and not self._has_more(batch_id, window):
                return
            wanted = _wanted(which, *(int.from_bytes(bits.ljust(_WINDOW, b"\0"), "big") for bits in maps))
            for place, byte in enumerate(wanted.to_bytes(_WINDOW, "big")):
                for bit in range(8) if byte else ():
                    item = (window + place) * 8 + bit
                    if byte & (0x80 >> bit) and item >= start:
                        yield item
            window += _WINDOW

    def is_flagged(self, batch_id: BatchId, item: int) -> bool:
        """Whether a person should look at this one.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            return bool(self._scripts.client.getbit(f"{_key(batch_id)}:flagged", item))

    def log(self, batch: Batch, blobs: Objects, bucket: str) -> Iterator[Said]:
        """Every decision about the batch, the oldest first.

        Raises:
            StoreUnavailable: Redis did not answer.
            ObjectError: decisions in storage cannot be read.
        """
        with translated():
            # In one step: what is cut off here lies in storage.
            pipeline: Any = self._scripts.client.pipeline(transaction=True)
            stored, waiting = pipeline.hget(_key(batch.id), "decided").lrange(_list(batch.id), 0, -1).execute()
        for chunk in range(int(stored or 0)):
            data = blobs.get(chunk_ref(bucket, batch, chunk), max_bytes=_MAX_CHUNK_BYTES)
            yield from map(_said, data.decode().splitlines())
        yield from map(_said, waiting)

    def of(self, batch: Batch, items: Sequence[int], blobs: Objects, bucket: str) -> dict[int, list[Review]]:
        """The decisions about these items, each one's oldest first. Reads the log, an object a thousand decisions.

        Raises:
            StoreUnavailable, ObjectError: see ``log``.
        """
        found: dict[int, list[Review]] = {item: [] for item in items}
        for said in self.log(batch, blobs, bucket) if found else ():
            if said.item in found:
                found[said.item].append(said.review)
        return found

    def next_version(self, batch_id: BatchId, *, tenant: TenantId) -> int | None:
        """A number from 2 that no other version of this batch's results has; None: there is no such batch.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return int(self._scripts.call("batch_version", keys=[_key(batch_id)], args=[batch_id, tenant])) or None

    # -- reports

    def unreported(self, *, limit: int) -> tuple[BatchId, ...]:
        """Batches whose report does not know their latest decisions; the caller has each for ``REPORT_LEASE_S``.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        keys = [f"{PREFIX}batches:decided"]
        return tuple(map(BatchId, self._scripts.call("batch_unreported", keys=keys, args=[limit, REPORT_LEASE_S])))

    def reported(self, batch_id: BatchId, *, count: int) -> bool:
        """Say that a report knows so many decisions; whether that is all of them.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        keys = [f"{PREFIX}batches:decided"]
        args = [batch_id, count, CHUNK, QUIET_S]
        return bool(self._scripts.call("batch_reported", keys=keys, args=args))

    def stored(self, batch: Batch, bucket: str) -> list[ObjectRef]:
        """Where decisions about the batch lie in storage.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            chunks: Any = self._scripts.client.hget(_key(batch.id), "decided")
        return [chunk_ref(bucket, batch, chunk) for chunk in range(int(chunks or 0))]

    # -- ours

    def _store(self, batch: Batch, blobs: Objects, bucket: str) -> None:
        """Move the oldest decisions into storage; where that fails, the next decision tries again."""
        with translated():
            pipeline: Any = self._scripts.client.pipeline(transaction=True)
            stored, oldest = pipeline.hget(_key(batch.id), "decided").lrange(_list(batch.id), 0, CHUNK - 1).execute()
        chunk = int(stored or 0)
        if len(oldest) < CHUNK:
            return
        data = "".join(f"{line}\n" for line in oldest).encode()
        try:
            blobs.put(chunk_ref(bucket, batch, chunk), data, content_type="application/jsonl")
        except ObjectError as err:
            logger.warning("decisions wait for the storage", batch=batch.id, error=str(err))
            return
        self._scripts.call("batch_decided", keys=[_key(batch.id)], args=[batch.id, chunk, CHUNK])

    def _bits(self, batch_id: BatchId, name: str, window: int) -> bytes:
        with translated():
            # Not as text: bytes over 127 are no UTF-8.
            client: Any = self._scripts.client
            place = (f"{_key(batch_id)}:{name}", window, window + _WINDOW - 1)
            found = client.execute_command("GETRANGE", *place, NEVER_DECODE=True)
        return bytes(found)

    def _has_more(self, batch_id: BatchId, window: int) -> bool:
        """Whether any of the bitmaps goes on behind this window."""
        with translated():
            pipeline: Any = self._scripts.client.pipeline(transaction=False)
            for name in ("flagged", "accepted", "rejected"):
                pipeline.strlen(f"{_key(batch_id)}:{name}")
            return any(length > window + _WINDOW for length in pipeline.execute())


def chunk_ref(bucket: str, batch: Batch, chunk: int) -> ObjectRef:
    """Where decisions number ``chunk`` x ``CHUNK`` and the following lie."""
    return ObjectRef(bucket=bucket, key=f"batches/{batch.tenant}/{batch.id}/decisions/{chunk:06d}.jsonl")


def as_note(review: Review) -> DecisionNote:
    """As the report tells it."""
    return DecisionNote(decision=str(review.decision), at=timestamp(review.at) or "", by=review.by, note=review.note)


def _wanted(which: Which, flagged: int, accepted: int, rejected: int) -> int:
    """Bits of the items that are asked for."""
    wanted = {
        Which.PENDING: flagged & ~(accepted | rejected),
        Which.ACCEPTED: accepted,
        Which.REJECTED: rejected,
        Which.ALL: flagged | accepted | rejected,
    }
    return wanted[which]


def _said(text: str) -> Said:
    words = json.loads(text)
    review = Review(decision=Decision(words["decision"]), at=words["at"], note=words["note"], by=words["by"])
    return Said(item=int(words["item"]), review=review)


def _key(batch_id: BatchId) -> str:
    return f"{PREFIX}batch:{batch_id}"


def _list(batch_id: BatchId) -> str:
    return f"{_key(batch_id)}:decisions"
