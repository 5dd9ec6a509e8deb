"""What must not stay for ever, and what would be stuck for ever: the sweeper's side of the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.codec import dump_json, result_from_json
from jobs.connection import PREFIX, Scripts, translated
from jobs.errors import JobNotFound
from jobs.model import ObjectRef, TenantId

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A place that a caller may write one object to, and then name as a job's input."""

    id: str  #: ``upl_…``
    tenant: TenantId
    ref: ObjectRef
    content_type: str
    size: int  #: bytes, as declared
    expires_at: float = 0.0  #: Redis' clock; set by the store. While an unfinished job uses it, it stays


class Retention:
    """Expiry of leases, results, records and uploads."""

    def __init__(self, scripts: Scripts, *, upload_ttl_s: float) -> None:
        self._scripts = scripts
        self._upload_ttl_s = upload_ttl_s

    def sweep(self, policy: str, *, limit: int) -> SweepReport:
        counts = self._scripts.call("sweep", keys=[f"{PREFIX}leases"], args=[policy, limit])
        names = [f.name for f in dataclasses.fields(SweepReport)]
        return SweepReport(**dict(zip(names, map(int, counts), strict=True)))

    def expired_objects(self, *, limit: int) -> tuple[Expired, ...]:
        flat = self._scripts.call("trash", keys=[f"{PREFIX}trash"], args=[limit, DELETE_HOLD_S])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return tuple(Expired(member=member, refs=_refs(member, words)) for member, words in pairs)

    def forget_objects(self, expired: Sequence[Expired]) -> None:
        if expired:
            self._scripts.call("forget", keys=[f"{PREFIX}trash"], args=[e.member for e in expired])

    def register_upload(self, upload: Upload) -> Upload:
        words = dataclasses.asdict(upload) | {"ref": upload.ref.uri}
        del words["expires_at"]
        args = [upload.id, dump_json(words), self._upload_ttl_s]
        expires_at = self._scripts.call("upload", keys=[f"{PREFIX}upload:{upload.id}"], args=args)
        return dataclasses.replace(upload, expires_at=float(expires_at))

    def get_upload(self, upload_id: str, *, tenant: TenantId) -> Upload:
        with translated():
            found: Any = self._scripts.client.hmget(f"{PREFIX}upload:{upload_id}", ["spec", "expires_at", "gone"])
        words, expires_at, gone = found
        upload = _upload(words, expires_at) if words and not gone else None
        if upload is None or upload.tenant != tenant:
            raise UploadNotFound(f"{upload_id} for {tenant}")
        return upload


class UploadNotFound(JobNotFound):
    """Raised when no such upload exists for this tenant, or it has expired."""

    code = "upload_not_found"
    public = "There is no such upload, or it has expired."


def _upload(words: str, expires_at: str) -> Upload:
    spec = json.loads(words)
    return Upload(**(spec | {"ref": ObjectRef.parse(spec["ref"]), "expires_at": float(expires_at)}))


def _refs(member: str, words: str) -> tuple[ObjectRef, ...]:
    if not words:
        return ()
    if member.startswith("upload "):
        return (_upload(words, "0").ref,)
    return tuple(artifact.ref for artifact in result_from_json(words).artifacts)
