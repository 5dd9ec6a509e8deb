"""Objects in S3-compatible storage.

Results go to keys that no other attempt uses, and become visible through the job record only: no step relies on
conditional writes, which S3-compatible servers honour in different ways, nor on listings, which may lag.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, TypeVar

from botocore.exceptions import ClientError

from jobs.checksums import CHUNK_BYTES, SHA256_METADATA, digests, is_as_stored
from jobs.errors import ObjectChanged, ObjectTooLarge
from jobs.model import ObjectRef
from jobs.object_names import attachment
from jobs.retrying import Deadline, Passing, RetryBudget, persistently
from jobs.s3 import (
    CALL_S,
    S3Client,
    TimedBody,
    allowance_s,
    bounded,
    make_client,
    status_of,
    translated,
)
from jobs.settings import JobsSettings

T = TypeVar("T")


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
    etag: str = ""  #: without quotes


class BlobStore:
    """Objects in S3. Safe to share between threads."""

    def __init__(self, client: S3Client, *, public: S3Client, region: str = "us-east-1") -> None:
        self._s3 = client
        self._public = public
        self._region = region
        self._budget = RetryBudget()

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
        self._ask("the storage", lambda _: self._s3.list_buckets())

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it exists.

        Raises:
            ObjectDenied, StorageUnavailable: see ``head``.
        """
        # us-east-1 is the one region that must not be named.
        where = (
            {} if self._region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        )

        def ensure(_: Deadline) -> None:
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

        self._ask(bucket, ensure)

    def let_pages_in(self, bucket: str, origins: Sequence[str]) -> bool:
        """Add to the bucket's CORS rules that web pages of these origins may upload by presigned URLs, unless they may.

        False: the storage has no such rules, or does not let us change them.
        """
        rule = {"AllowedOrigins": list(origins), "AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]}

        def let_in(_: Deadline) -> bool:
            try:
                there: list[Any] = self._s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
            except ClientError as err:
                if err.response["Error"].get("Code") != "NoSuchCORSConfiguration":
                    return False
                there = []
            if any(_covers(known, rule) for known in there):
                return True
            try:
                self._s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [*there, rule]})
            except ClientError:
                return False
            return True

        return self._ask(bucket, let_in)

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo:
        """What the storage says about the object, or about one version of it.

        Raises:
            ObjectMissing: no such bucket, key or version.
            ObjectDenied: our credentials do not suffice.
            StorageUnavailable: no answer, throttled, or failing, also after retries.
        """
        which = {"VersionId": version_id} if version_id else {}
        return self._ask(ref.uri, lambda _: _info(self._s3.head_object(Bucket=ref.bucket, Key=ref.key, **which)))

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes:
        """The object's bytes, whole and unaltered: as many as the storage says, and those of its checksum.

        The checksum is ours, where we stored it, else an ETag that is an MD5.

        Raises:
            ObjectTooLarge: more than ``max_bytes``; it is not read.
            ObjectChanged: its ETag is not ``if_match``, or its bytes are not those whose checksum it carries.
            ObjectMissing, ObjectDenied, StorageUnavailable: see ``head``.
        """

        def get(deadline: Deadline) -> bytes:
            data, info = self._read(ref, deadline, max_bytes=max_bytes, if_match=if_match)
            if is_as_stored(data, etag=info.etag, metadata=info.metadata):
                return data
            # The line may have garbled it, so it is read once more; what comes twice is what the storage has.
            again, info = self._read(ref, deadline, max_bytes=max_bytes, if_match=if_match)
            if is_as_stored(again, etag=info.etag, metadata=info.metadata):
                return again
            if again != data:
                raise Passing(f"{ref.uri} is read differently each time")
            if SHA256_METADATA in info.metadata:
                raise ObjectChanged(f"{ref.uri} is not what its checksum says")
            return again  # this ETag is no MD5

        return self._ask(ref.uri, get)

    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes:
        """Up to ``length`` bytes of this version from ``start`` on; none behind its end.

        Raises:
            ObjectChanged: its ETag is another one.
            ObjectMissing, ObjectDenied, StorageUnavailable: see ``head``.
        """
        wanted = {"Range": f"bytes={start}-{start + length - 1}", "IfMatch": f'"{if_match}"'}

        def read(deadline: Deadline) -> bytes:
            try:
                answer = self._s3.get_object(Bucket=ref.bucket, Key=ref.key, **wanted)
            except ClientError as err:
                if status_of(err) == 416:
                    return b""
                raise
            info, body = _info(answer), answer["Body"]
            with body, bounded(body, deadline):
                if info.etag != if_match:
                    raise ObjectChanged(f"{ref.uri} has ETag {info.etag}, expected {if_match}")
                data: bytes = body.read(length)
            if len(data) != min(length, info.size):
                raise Passing(f"{ref.uri} ended after {len(data)} of {info.size} bytes")
            return data

        return self._ask(ref.uri, read, size=length)

    def copy(self, source: ObjectRef, to: ObjectRef, *, content_type: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """The copy, made by the storage itself, with metadata of its own; the same call again makes the same.

        Raises:
            ObjectMissing: no such source, or no such bucket.
            ObjectDenied, StorageUnavailable: see ``head``.
        """

        def copy(_: Deadline) -> ObjectInfo:
            self._s3.copy_object(
                Bucket=to.bucket,
                Key=to.key,
                CopySource={"Bucket": source.bucket, "Key": source.key},
                MetadataDirective="REPLACE",
                Metadata=dict(metadata),
                ContentType=content_type,
            )
            return _info(self._s3.head_object(Bucket=to.bucket, Key=to.key))

        return self._ask(to.uri, copy)

    def put(
        self,
        ref: ObjectRef,
        data: bytes | BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
    ) -> ObjectInfo:
        """Store the bytes; both sides check that they are the ones that were sent.

        Raises:
            ObjectMissing: no such bucket.
            ObjectDenied, StorageUnavailable: see ``head``.
        """
        size, md5, sha256 = digests(data)
        words = {SHA256_METADATA: sha256} | dict(metadata or {})
        extra = {"ContentDisposition": attachment(filename)} if filename else {}
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        start = file.tell()

        def put(deadline: Deadline) -> ObjectInfo:
            file.seek(start)
            answer = self._s3.put_object(
                Bucket=ref.bucket,
                Key=ref.key,
                Body=TimedBody(file, deadline),
                ContentLength=size,
                # Every S3 verifies this one; the newer checksums are ignored by some and break others.
                ContentMD5=base64.b64encode(md5).decode(),
                ContentType=content_type,
                Metadata=words,
                **extra,
            )
            stored = ObjectInfo(size=size, etag=_etag(answer), content_type=content_type, metadata=words)
            if stored.etag != md5.hex():
                self._verify(ref, stored)
            return stored

        return self._ask(ref.uri, put, size=size)

    def delete(self, refs: Sequence[ObjectRef]) -> None:
        """Remove the objects; one that is not there is fine.

        Raises:
            ObjectDenied, StorageUnavailable: see ``head``. Some may be gone already.
        """

        def delete(ref: ObjectRef, _: Deadline) -> None:
            try:
                self._s3.delete_object(Bucket=ref.bucket, Key=ref.key)
            except ClientError as err:
                if status_of(err) != 404:
                    raise

        for ref in refs:
            self._ask(ref.uri, functools.partial(delete, ref))

    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]:
        """What lies under a prefix. What was stored just now may be missing: list to find, never to prove absence.

        Raises:
            ObjectMissing, ObjectDenied, StorageUnavailable: see ``head``.
        """
        where = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self._ask(f"s3://{bucket}/{prefix}", lambda _: self._s3.list_objects_v2(**where))
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for line in page.get("Contents", ()):
                age_s = (now - line["LastModified"]).total_seconds()
                yield Listed(
                    ref=ObjectRef(bucket=bucket, key=line["Key"]), size=line["Size"], age_s=age_s, etag=_etag(line)
                )
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def presign_get(
        self, ref: ObjectRef, *, expires_s: int = 900, filename: str | None = None, content_type: str | None = None
    ) -> str:
        """A URL by which anyone may read this object until it expires."""
        params: dict[str, Any] = {"Bucket": ref.bucket, "Key": ref.key}
        if filename:
            params["ResponseContentDisposition"] = attachment(filename)
        if content_type:
            params["ResponseContentType"] = content_type
        return str(self._public.generate_presigned_url("get_object", Params=params, ExpiresIn=expires_s))

    def presign_put(self, ref: ObjectRef, *, content_type: str, size: int, expires_s: int = 900) -> str:
        """A URL by which anyone may write this object until it expires, with just this type and length in bytes.

        Both are signed headers. Check the length by ``head`` all the same: not every server compares them.
        """
        params = {"Bucket": ref.bucket, "Key": ref.key, "ContentType": content_type, "ContentLength": size}
        return str(self._public.generate_presigned_url("put_object", Params=params, ExpiresIn=expires_s))

    def _ask(self, what: str, call: Callable[[Deadline], T], *, size: int = 0) -> T:
        """Every request of ours goes through here: one deadline, one budget of retries, our own errors."""

        def ask(deadline: Deadline) -> T:
            with translated(what):
                return call(deadline)

        return persistently(ask, budget=self._budget, within_s=CALL_S + allowance_s(size))

    def _read(
        self, ref: ObjectRef, deadline: Deadline, *, max_bytes: int, if_match: str | None
    ) -> tuple[bytes, ObjectInfo]:
        """The bytes, as many as there must be."""
        condition = {"IfMatch": f'"{if_match}"'} if if_match else {}
        answer = self._s3.get_object(Bucket=ref.bucket, Key=ref.key, **condition)
        body, info = answer["Body"], _info(answer)
        deadline.extend(allowance_s(info.size))
        with body, bounded(body, deadline):
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
            raise Passing(f"{ref.uri} ended after {len(data)} of {info.size} bytes")
        return bytes(data), info

    def _verify(self, ref: ObjectRef, stored: ObjectInfo) -> None:
        """Where the ETag does not tell what was stored, the storage is asked."""
        try:
            found = _info(self._s3.head_object(Bucket=ref.bucket, Key=ref.key))
        except ClientError as err:
            if status_of(err) == 404:
                raise Passing(f"{ref.uri} is not there, though it was accepted") from err
            raise
        if (found.size, found.metadata.get(SHA256_METADATA)) != (stored.size, stored.metadata[SHA256_METADATA]):
            raise Passing(f"{ref.uri} was stored with {found.size} bytes, sent were {stored.size}")


def _info(answer: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        size=int(answer["ContentLength"]),
        etag=_etag(answer),
        content_type=str(answer.get("ContentType", "application/octet-stream")),
        metadata=dict(answer.get("Metadata", {})),
    )


def _covers(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether one CORS rule allows all that another does."""
    return all(
        "*" in known.get(name, [])
        or {str(one).lower() for one in wanted[name]} <= {str(one).lower() for one in known.get(name, [])}
        for name in wanted
    )


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')
