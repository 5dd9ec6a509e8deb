"""Doubles that behave like the real thing; ``tests/contracts`` runs one suite against both."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from jobs.blobs import Listed, ObjectInfo
from jobs.checksums import SHA256_METADATA
from jobs.errors import ObjectChanged, ObjectMissing, ObjectTooLarge
from jobs.model import ObjectRef


class MemoryBlobs:
    """A ``BlobStore`` in memory. Its presigned URLs lead nowhere; everything else keeps the contract."""

    def __init__(self) -> None:
        self._buckets: MutableMapping[str, MutableMapping[str, tuple[bytes, ObjectInfo]]] = {}

    def ping(self) -> None:
        pass

    def ensure_bucket(self, bucket: str) -> None:
        self._buckets.setdefault(bucket, self._new_bucket(bucket))

    def _new_bucket(self, _bucket: str) -> MutableMapping[str, tuple[bytes, ObjectInfo]]:
        return {}

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo:
        if version_id is not None:
            raise ObjectMissing(f"{ref.uri} has no versions")
        return self._find(ref)[1]

    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes:
        data, info = self._find(ref)
        if info.etag != if_match:
            raise ObjectChanged(ref.uri)
        return data[start : start + length]

    def copy(self, source: ObjectRef, to: ObjectRef, *, content_type: str, metadata: Mapping[str, str]) -> ObjectInfo:
        data, info = self._find(source)
        if to.bucket not in self._buckets:
            raise ObjectMissing(to.uri)
        made = ObjectInfo(size=info.size, etag=info.etag, content_type=content_type, metadata=dict(metadata))
        self._buckets[to.bucket][to.key] = (data, made)
        return made

    def list(self, bucket: str, *, prefix: str) -> Iterator[Listed]:
        if bucket not in self._buckets:
            raise ObjectMissing(f"s3://{bucket}")
        for key in sorted(key for key in self._buckets[bucket] if key.startswith(prefix)):
            info = self._buckets[bucket][key][1]
            yield Listed(ref=ObjectRef(bucket=bucket, key=key), size=info.size, age_s=0.0, etag=info.etag)

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


class FolderBlobs(MemoryBlobs):
    """The same in a folder, for several processes at once; what was put is there whatever becomes of who put it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _new_bucket(self, bucket: str) -> MutableMapping[str, tuple[bytes, ObjectInfo]]:
        return _Files(self._folder / bucket)


class _Files(MutableMapping[str, tuple[bytes, ObjectInfo]]):
    """One file for each key; a value is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, key: str) -> tuple[bytes, ObjectInfo]:
        try:
            found: tuple[bytes, ObjectInfo] = pickle.loads(self._file(key).read_bytes())[1]
        except FileNotFoundError as err:
            raise KeyError(key) from err
        return found

    def __setitem__(self, key: str, value: tuple[bytes, ObjectInfo]) -> None:
        file = self._file(key)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(pickle.dumps((key, value)))
        unfinished.replace(file)

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except FileNotFoundError as err:
            raise KeyError(key) from err

    def __iter__(self) -> Iterator[str]:
        return (pickle.loads(file.read_bytes())[0] for file in self._folder.glob("*.object"))

    def __len__(self) -> int:
        return len(list(self._folder.glob("*.object")))

    def _file(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.object"
