"""Objects in S3-compatible storage.

Results go to keys that no other attempt uses, and become visible through the job record only: no step relies on
conditional writes, which S3-compatible servers honour in different ways, nor on listings, which may lag.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from botocore.exceptions import ClientError

from jobs.errors import ObjectChanged, ObjectTooLarge, StorageUnavailable
from jobs.model import Job, ObjectRef, TenantId
from jobs.s3 import BrokenOff, S3Client, make_client, status_of, translated
from jobs.settings import JobsSettings

#: Reads of one body. botocore retries requests, but not a body that breaks off.
BODY_ATTEMPTS = 3
#: Bytes read at a time, so that a body longer than allowed is noticed early.
CHUNK_BYTES = 1 << 20
#: Our own checksum, in the object's metadata: servers differ in which others they keep.
SHA256_METADATA = "sha256"

_UPLOAD_KEY = re.compile(r"uploads/(?P<tenant>.+?)/(?P<id>upl_[0-9a-f]{32})(/[^/]+)?\Z")
_UPLOAD_ID = re.compile(r"(\A|/)upl_[0-9a-f]{32}\Z")
#: What may stand in the name of an upload; a caller may send anything.
_UNSAFE = re.compile(r"[^\w.\- ]+")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What the storage says about an object."""

    size: int  #: bytes
    etag: str  #: without quotes; not always an MD5
    content_type: str
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a listing."""

    ref: ObjectRef
    size: int  #: bytes
    age_s: float  #: by the storage's own clock


def result_ref(bucket: str, job: Job, part: str, extension: str) -> ObjectRef:
    """A key for one result that no other attempt, and no second try of this one, will ever write."""
    unique = f"{job.epoch}-{secrets.token_hex(8)}"
    return ObjectRef(bucket=bucket, key=f"results/{job.tenant}/{job.id}/{unique}/{part}.{extension}")


def new_upload_id() -> str:
    """128 random bits: unguessable, URL-safe."""
    return f"upl_{secrets.token_hex(16)}"


def upload_ref(bucket: str, tenant: TenantId, upload_id: str, *, filename: str | None = None) -> ObjectRef:
    """Where an upload lies; the caller's name for it, made safe, ends the key, so that results are named after it."""
    name = safe_name(filename or "")
    return ObjectRef(bucket=bucket, key=f"uploads/{tenant}/{upload_id}{'/' if name else ''}{name}")


def plain_name(ref: ObjectRef) -> str:
    """What people call the object: the last part of its key, made safe; empty for an upload that nobody named."""
    return "" if _UPLOAD_ID.search(ref.key) else safe_name(ref.key.rstrip("/"))


def safe_name(filename: str) -> str:
    """The last part of a path, without whatever could mean something to a file system; empty if nothing is left."""
    last = unicodedata.normalize("NFC", filename).replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last)[-_MAX_NAME:].strip(" .")


def upload_id_of(ref: ObjectRef, *, bucket: str, tenant: TenantId) -> str | None:
    """The upload that this object is, if it is one of this tenant's: the inverse of ``upload_ref``."""
    match = _UPLOAD_KEY.match(ref.key)
    return match["id"] if match and ref.bucket == bucket and match["tenant"] == tenant else None


class BlobStore:
    """Objects in S3. Safe to share between threads."""

    def __init__(self, client: S3Client, *, public: S3Client, region: str = "us-east-1") -> None:
        self._s3 = client
        self._public = public
        self._region = region

    @classmethod
    def connect(cls, settings: JobsSettings) -> BlobStore:
        """A store as the settings say; nothing is sent yet."""
        client = make_client(settings, settings.s3_endpoint_url)
        public_url = settings.s3_public_endpoint_url
        public = client if public_url in {None, settings.s3_endpoint_url} else make_client(settings, public_url)
        return cls(client, public=public, region=settings.s3_region)

    def ping(self) -> None:
        """Ask whether the storage answers and knows us.

        Raises:
            StorageUnavailable: it does not answer.
            ObjectDenied: it refuses our credentials.
        """
        with translated("the storage"):
            self._s3.list_buckets()

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it exists.

        Raises:
            ObjectDenied, StorageUnavailable: see ``head``.
        """
        # us-east-1 is the one region that must not be named.
        where = (
            {} if self._region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        )
        with translated(bucket):
            try:
                self._s3.head_bucket(Bucket=bucket)
            except ClientError as err:
                if status_of(err) != 404:
                    raise
            else:
                return
            try:
                self._s3.create_bucket(Bucket=bucket, **where)
            except ClientError as err:
                if err.response["Error"].get("Code") not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """What the storage says about the object.

        Raises:
            ObjectMissing: no such bucket or key.
            ObjectDenied: our credentials do not suffice.
            StorageUnavailable: no answer, throttled, or failing, also after retries.
        """
        with translated(ref.uri):
            return _info(self._s3.head_object(Bucket=ref.bucket, Key=ref.key))

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes:
        """The object's bytes, whole and unaltered.

        Raises:
            ObjectTooLarge: more than ``max_bytes``; it is not read.
            ObjectChanged: its ETag is not ``if_match``, or its bytes are not those whose checksum it carries.
            ObjectMissing, ObjectDenied, StorageUnavailable: see ``head``.
        """
        for attempt in range(1, BODY_ATTEMPTS + 1):
            try:
                with translated(ref.uri):
                    return self._get(ref, max_bytes=max_bytes, if_match=if_match)
            except StorageUnavailable as err:
                if not isinstance(err, BrokenOff) or attempt == BODY_ATTEMPTS:
                    raise
        raise AssertionError("this is a bug: the last attempt returns or raises")

    def put(
        self,
        ref: ObjectRef,
        data: bytes | BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
    ) -> ObjectInfo:
        """Store the bytes; the storage checks that they are the ones that were sent.

        Raises:
            ObjectMissing: no such bucket.
            ObjectDenied, StorageUnavailable: see ``head``.
        """
        size, md5, sha256 = _digests(data)
        words = {SHA256_METADATA: sha256} | dict(metadata or {})
        extra = {"ContentDisposition": _attachment(filename)} if filename else {}
        with translated(ref.uri):
            answer = self._s3.put_object(
                Bucket=ref.bucket,
                Key=ref.key,
                Body=data,
                ContentLength=size,
                # Every S3 verifies this one; the newer checksums are ignored by some and break others.
                ContentMD5=md5,
                ContentType=content_type,
                Metadata=words,
                **extra,
            )
        return ObjectInfo(size=size, etag=_etag(answer), content_type=content_type, metadata=words)

    def delete(self, refs: Sequence[ObjectRef]) -> None:
        """Remove the objects; one that is not there is fine.

        Raises:
            ObjectDenied, StorageUnavailable: see ``head``. Some may be gone already.
        """
        for ref in refs:
            with translated(ref.uri):
                try:
                    self._s3.delete_object(Bucket=ref.bucket, Key=ref.key)
                except ClientError as err:
                    if status_of(err) != 404:
                        raise

    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]:
        """What lies under a prefix. What was stored just now may be missing: list to find, never to prove absence.

        Raises:
            ObjectMissing, ObjectDenied, StorageUnavailable: see ``head``.
        """
        token: dict[str, str] = {}
        while True:
            with translated(f"s3://{bucket}/{prefix}"):
                page = self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for line in page.get("Contents", ()):
                age_s = (now - line["LastModified"]).total_seconds()
                yield Listed(ref=ObjectRef(bucket=bucket, key=line["Key"]), size=line["Size"], age_s=age_s)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def presign_get(
        self, ref: ObjectRef, *, expires_s: int = 900, filename: str | None = None, content_type: str | None = None
    ) -> str:
        """A URL by which anyone may read this object until it expires."""
        params: dict[str, Any] = {"Bucket": ref.bucket, "Key": ref.key}
        if filename:
            params["ResponseContentDisposition"] = _attachment(filename)
        if content_type:
            params["ResponseContentType"] = content_type
        return str(self._public.generate_presigned_url("get_object", Params=params, ExpiresIn=expires_s))

    def presign_put(self, ref: ObjectRef, *, content_type: str, size: int, expires_s: int = 900) -> str:
        """A URL by which anyone may write this object until it expires, with just this type and length in bytes.

        Both are signed headers. Check the length by ``head`` all the same: not every server compares them.
        """
        params = {"Bucket": ref.bucket, "Key": ref.key, "ContentType": content_type, "ContentLength": size}
        return str(self._public.generate_presigned_url("put_object", Params=params, ExpiresIn=expires_s))

    def _get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None) -> bytes:
        condition = {"IfMatch": f'"{if_match}"'} if if_match else {}
        answer = self._s3.get_object(Bucket=ref.bucket, Key=ref.key, **condition)
        body, info = answer["Body"], _info(answer)
        with body:
            if if_match and info.etag != if_match:
                raise ObjectChanged(f"{ref.uri} has ETag {info.etag}, expected {if_match}")
            data = bytearray()
            while len(data) <= max_bytes and info.size <= max_bytes:
                chunk = body.read(CHUNK_BYTES)
                if not chunk:
                    break
                data += chunk
        if max(len(data), info.size) > max_bytes:
            raise ObjectTooLarge(f"{ref.uri} has {info.size} bytes, allowed are {max_bytes}")
        if len(data) != info.size:
            raise BrokenOff(f"{ref.uri} ended after {len(data)} of {info.size} bytes")
        expected = info.metadata.get(SHA256_METADATA)
        if expected and hashlib.sha256(data).hexdigest() != expected:
            raise ObjectChanged(f"{ref.uri} is not what its checksum says")
        return bytes(data)


def _info(answer: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        size=int(answer["ContentLength"]),
        etag=_etag(answer),
        content_type=str(answer.get("ContentType", "application/octet-stream")),
        metadata=dict(answer.get("Metadata", {})),
    )


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _digests(data: bytes | BinaryIO) -> tuple[int, str, str]:
    """Length, base64 MD5 and hexadecimal SHA-256; a file is read and wound back to where it was."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    if isinstance(data, bytes):
        md5.update(data)
        sha256.update(data)
        size = len(data)
    else:
        start = data.tell()
        while chunk := data.read(CHUNK_BYTES):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
        data.seek(start)
    return size, base64.b64encode(md5.digest()).decode(), sha256.hexdigest()


def _attachment(filename: str) -> str:
    """Content-Disposition for any name: RFC 6266, with an ASCII stand-in for old readers."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
