"""What objects are called: keys of results and uploads, and names for people."""

from __future__ import annotations

import re
import secrets
import unicodedata
from urllib.parse import quote, unquote, urlsplit

from jobs.model import InputRef, Job, JobId, ObjectRef, TenantId, UrlRef, is_job_id

_UPLOAD_KEY = re.compile(r"uploads/(?P<tenant>.+?)/(?P<id>upl_[0-9a-f]{32})(/[^/]+)?\Z")
#: Of a result's key, what follows its job's id: attempt, and part. No `..` in it, and nothing empty.
_RESULT_END = re.compile(r"\d+-[0-9a-f]+(/\w[\w-]*)+\.\w+\Z", re.ASCII)
_OWNED = re.compile(r"(uploads|results|batches)/(?P<tenant>[^/]*)")
_UPLOAD_ID = re.compile(r"(\A|/)upl_[0-9a-f]{32}\Z")
#: What may stand in the name of an upload; a caller may send anything.
_UNSAFE = re.compile(r"[^\w.\- ]+")
_MAX_NAME = 100


def result_ref(bucket: str, job: Job, part: str, extension: str) -> ObjectRef:
    """A key for one result that no other attempt, and no second try of this one, will ever write."""
    unique = f"{job.epoch}-{secrets.token_hex(8)}"
    return ObjectRef(bucket=bucket, key=f"results/{job.tenant}/{job.id}/{unique}/{part}.{extension}")


def owner_of(ref: ObjectRef, *, bucket: str) -> TenantId | None:
    """Whose upload or result this object is by its name, where ``bucket`` has both; None for anything else."""
    match = _OWNED.match(ref.key)
    return TenantId(match["tenant"]) if match and ref.bucket == bucket else None


def is_result_of(ref: ObjectRef, job_id: JobId, *, bucket: str, tenant: TenantId) -> bool:
    """Whether this can be a result of the job: the inverse of ``result_ref``.

    Records are in Redis, and what they say of results is not signed: whoever could write there must not name any
    object of his choice, to be handed out or deleted.
    """
    place = f"results/{tenant}/{job_id}/"
    is_place = is_job_id(job_id) and ref.bucket == bucket and ref.key.startswith(place)
    return is_place and _RESULT_END.match(ref.key, len(place)) is not None


def own_results(job: Job, *, bucket: str) -> list[ObjectRef]:
    """Where the job's results lie; what its record names beside those is not there for us to touch."""
    named = job.result.artifacts if job.result is not None else ()
    return [a.ref for a in named if is_result_of(a.ref, job.id, bucket=bucket, tenant=job.tenant)]


def new_upload_id() -> str:
    """128 random bits: unguessable, URL-safe."""
    return f"upl_{secrets.token_hex(16)}"


def upload_ref(bucket: str, tenant: TenantId, upload_id: str, *, filename: str | None = None) -> ObjectRef:
    """Where an upload lies; the caller's name for it, made safe, ends the key, so that results are named after it."""
    name = safe_name(filename or "")
    return ObjectRef(bucket=bucket, key=f"uploads/{tenant}/{upload_id}{'/' if name else ''}{name}")


def plain_name(ref: InputRef) -> str:
    """What people call the input: the last part of its key, made safe; empty for an upload that nobody named."""
    if isinstance(ref, UrlRef):
        return safe_name(unquote(urlsplit(ref.uri).path).rstrip("/"))
    return "" if _UPLOAD_ID.search(ref.key) else safe_name(ref.key.rstrip("/"))


def safe_name(filename: str) -> str:
    """The last part of a path, without whatever could mean something to a file system; empty if nothing is left."""
    last = unicodedata.normalize("NFC", filename).replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last)[-_MAX_NAME:].strip(" .")


def upload_id_of(ref: InputRef, *, bucket: str, tenant: TenantId) -> str | None:
    """The upload that this input is, if it is one of this tenant's: the inverse of ``upload_ref``."""
    if isinstance(ref, UrlRef):
        return None
    match = _UPLOAD_KEY.match(ref.key)
    return match["id"] if match and ref.bucket == bucket and match["tenant"] == tenant else None


def attachment(filename: str) -> str:
    """Content-Disposition for any name: RFC 6266, with an ASCII stand-in for old readers.

    A name that could mean a path, or that looks like another one (control characters, a turned direction of writing),
    is told without that.
    """
    clear = "".join("_" if c in "/\\" or unicodedata.category(c)[0] == "C" else c for c in filename)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in clear)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clear, safe='')}"
