"""How we know that what the storage gives, or took, are the bytes that are meant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import BinaryIO

#: Our own checksum, in the object's metadata: servers differ in which others they keep.
SHA256_METADATA = "sha256"
#: Bytes read at a time.
CHUNK_BYTES = 1 << 20
#: An ETag that may be the MD5 of the bytes; others are of multipart uploads or of the storage's own making.
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


def is_as_stored(data: bytes, *, etag: str, metadata: Mapping[str, str]) -> bool:
    """Whether the bytes are those of our SHA-256, or else of an ETag that looks like an MD5; True where neither is."""
    expected = metadata.get(SHA256_METADATA)
    if expected:
        return hashlib.sha256(data).hexdigest() == expected
    return not _MD5.match(etag) or hashlib.md5(data, usedforsecurity=False).hexdigest() == etag


def digests(data: bytes | BinaryIO) -> tuple[int, bytes, str]:
    """Length, MD5 and hexadecimal SHA-256; a file is read and wound back to where it was."""
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
    return size, md5.digest(), sha256.hexdigest()
