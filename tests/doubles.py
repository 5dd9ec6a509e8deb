"""Doubles that behave like the real thing; ``tests/contracts`` runs one suite against both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO
from urllib.parse import quote

from jobs.blobs import SHA256_METADATA, ObjectInfo
from jobs.errors import ObjectChanged, ObjectMissing, ObjectTooLarge
from jobs.model import ObjectRef


class MemoryBlobs:
    """A ``BlobStore`` in memory. Its presigned URLs lead nowhere; everything else keeps the contract."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, tuple[bytes, ObjectInfo]]] = {}

    def ping(self) -> None:
        pass

    def ensure_bucket(self, bucket: str) -> None:
        self._buckets.setdefault(bucket, {})

    def head(self, ref: ObjectRef) -> ObjectInfo:
        return self._find(ref)[1]

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes:
        data, info = self._find(ref)
        if if_match is not None and info.etag != if_match:
            raise ObjectChanged(ref.uri)
        if info.size > max_bytes:
            raise ObjectTooLarge(ref.uri)
        expected = info.metadata.get(SHA256_METADATA)
        if expected and hashlib.sha256(data).hexdigest() != expected:
            raise ObjectChanged(ref.uri)
        return data

    def put(
        self,
        ref: ObjectRef,
        data: bytes | BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
    ) -> ObjectInfo:
        del filename
        if ref.bucket not in self._buckets:
            raise ObjectMissing(ref.uri)
        read = data if isinstance(data, bytes) else data.read()
        info = ObjectInfo(
            size=len(read),
            etag=hashlib.md5(read, usedforsecurity=False).hexdigest(),
            content_type=content_type,
            metadata={SHA256_METADATA: hashlib.sha256(read).hexdigest()} | dict(metadata or {}),
        )
        self._buckets[ref.bucket][ref.key] = (read, info)
        return info

    def delete(self, refs: Sequence[ObjectRef]) -> None:
        for ref in refs:
            self._buckets.get(ref.bucket, {}).pop(ref.key, None)

    def presign_get(
        self, ref: ObjectRef, *, expires_s: int = 900, filename: str | None = None, content_type: str | None = None
    ) -> str:
        del filename, content_type
        return f"memory://{ref.bucket}/{quote(ref.key)}?X-Amz-Expires={expires_s}"

    def presign_put(self, ref: ObjectRef, *, content_type: str, size: int, expires_s: int = 900) -> str:
        del content_type, size
        return f"memory://{ref.bucket}/{quote(ref.key)}?X-Amz-Expires={expires_s}"

    def _find(self, ref: ObjectRef) -> tuple[bytes, ObjectInfo]:
        try:
            return self._buckets[ref.bucket][ref.key]
        except KeyError as err:
            raise ObjectMissing(ref.uri) from err
