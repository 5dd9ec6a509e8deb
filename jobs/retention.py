"""What must not stay for ever, and what would be stuck for ever: the sweeper's side of the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.codec import dump_json, result_from_json
from jobs.connection import PREFIX, Scripts, translated
from jobs.errors import DailyQuotaExceeded, InvalidRequest, JobNotFound
from jobs.model import JobId, ObjectRef, TenantId
from jobs.object_names import is_result_of, upload_id_of

#: Objects named for deletion are offered to another keeper after this, unless they were forgotten by then.
DELETE_HOLD_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """How much one sweep did."""

    requeued: int  #: lapsed leases whose jobs wait again
    ended: int  #: lapsed leases whose jobs went to their end: canceled, too late, interrupted too often
    overdue: int  #: queued jobs whose deadline passed
    expired: int  #: finished jobs whose results go
    retired: int  #: records dropped
    uploads: int  #: uploads that expired

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Objects to delete: a job's results, or an upload."""

    member: str  #: the store's own name for the note
    refs: tuple[ObjectRef, ...]
    fault: str | None = None  #: why what its record names is not among them: it cannot be its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A place that a caller may write one object to, and then name as a job's input."""

    id: str  #: ``upl_…``
    tenant: TenantId
    ref: ObjectRef
    content_type: str
    size: int  #: bytes, as declared
    sha256: str | None = None  #: of the bytes, where it was declared
    expires_at: float = 0.0  #: Redis' clock; set by the store. While an unfinished job uses it, it stays


class Retention:
    """Expiry of leases, results, records and uploads."""

    def __init__(self, scripts: Scripts, *, bucket: str, upload_ttl_s: float) -> None:
        """``bucket``: where uploads and results are."""
        self._scripts = scripts
        self._bucket = bucket
        self._upload_ttl_s = upload_ttl_s

    def sweep(self, policy: str, *, limit: int) -> SweepReport:
        counts = self._scripts.call("sweep", keys=[f"{PREFIX}leases"], args=[policy, limit])
        names = [f.name for f in dataclasses.fields(SweepReport)]
        return SweepReport(**dict(zip(names, map(int, counts), strict=True)))

    def expired_objects(self, *, limit: int) -> tuple[Expired, ...]:
        flat = self._scripts.call("trash", keys=[f"{PREFIX}trash"], args=[limit, DELETE_HOLD_S])
        return tuple(map(self._expired, flat[::3], flat[1::3], flat[2::3]))

    def forget_objects(self, expired: Sequence[Expired]) -> None:
        if expired:
            self._scripts.call("forget", keys=[f"{PREFIX}trash"], args=[e.member for e in expired])

    def register_upload(self, upload: Upload) -> Upload:
        words = dataclasses.asdict(upload) | {"ref": upload.ref.uri}
        words = {name: value for name, value in words.items() if value is not None and name != "expires_at"}
        args = [upload.id, dump_json(words), self._upload_ttl_s, upload.tenant, upload.size]
        status, *rest = self._scripts.call("upload", keys=[f"{PREFIX}upload:{upload.id}"], args=args)
        if status == "daily":
            raise DailyQuotaExceeded(f"{rest[0]} bytes of uploads a day", retry_after_s=float(rest[1]))
        return dataclasses.replace(upload, expires_at=float(rest[0]))

    def get_upload(self, upload_id: str, *, tenant: TenantId) -> Upload:
        with translated():
            found: Any = self._scripts.client.hmget(f"{PREFIX}upload:{upload_id}", ["spec", "expires_at", "gone"])
        words, expires_at, gone = found
        upload = _upload(words, expires_at) if words and not gone else None
        if upload is None or upload.tenant != tenant:
            raise UploadNotFound(f"{upload_id} for {tenant}")
        # What is named here becomes a job's input: see ``is_result_of``.
        if not self._is_place_of(upload_id, upload):
            raise UploadNotFound(f"{upload_id} for {tenant}: its record names {upload.ref.uri}, which is not its place")
        return upload

    def _is_place_of(self, upload_id: str, upload: Upload) -> bool:
        return upload_id_of(upload.ref, bucket=self._bucket, tenant=upload.tenant) == upload_id

    def _expired(self, member: str, owner: str, words: str) -> Expired:
        try:
            named = self._named(member, owner, words)
        except (KeyError, ValueError, TypeError, InvalidRequest) as err:
            # For an operator to look at: one that stayed would be in the way of the others.
            return Expired(member=member, refs=(), fault=f"its record cannot be read: {err!r}")
        others = ", ".join(ref.uri for ref, is_own in named if not is_own)
        return Expired(
            member=member,
            refs=tuple(ref for ref, is_own in named if is_own),
            fault=f"its record names what is not its own: {others}" if others else None,
        )

    def _named(self, member: str, owner: str, words: str) -> list[tuple[ObjectRef, bool]]:
        """The objects that a note leads to, and whether it may lead to their end."""
        kind, _, name = member.partition(" ")
        if not words:
            return []
        if kind == "upload":
            upload = _upload(words, "0")
            return [(upload.ref, self._is_place_of(name, upload))]
        refs = [artifact.ref for artifact in result_from_json(words).artifacts]
        return [(ref, is_result_of(ref, JobId(name), bucket=self._bucket, tenant=TenantId(owner))) for ref in refs]


class UploadNotFound(JobNotFound):
    """Raised when no such upload exists for this tenant, or it has expired."""

    code = "upload_not_found"
    public = "There is no such upload, or it has expired."


def _upload(words: str, expires_at: str) -> Upload:
    spec = json.loads(words)
    return Upload(**(spec | {"ref": ObjectRef.parse(spec["ref"]), "expires_at": float(expires_at)}))
