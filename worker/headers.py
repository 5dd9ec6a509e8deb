"""What a picture's header says, read from the storage by ranges: a scan of a gigabyte costs a few kilobytes.

The keeper reads headers of a dry run's sample. No pixel is decoded, and nothing here is compiled code that a stranger's
bytes could break out of: `imagesize` is plain Python, and what it may read is bounded, whatever a file claims.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import imagesize

from jobs.errors import ObjectError
from jobs.model import ObjectRef
from jobs.sniffing import SNIFF_BYTES, sniff

#: Bytes asked for at a time; the header of nearly every file lies in one or two such blocks (TIFF's at its end).
BLOCK = 32 * 1024
#: Of one file: blocks that are fetched, and reads that are answered. A header that needs more is none.
MOST_BLOCKS, MOST_READS = 24, 20_000


class HeaderUnreadable(Exception):
    """Raised when a file's header says no size; ``code`` is what a job would fail with."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.failure_code = code
        self.detail = detail


class Ranges(Protocol):
    """The part of the object storage that headers need."""

    def read_range(self, ref: ObjectRef, *, start: int, length: int, if_match: str) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself."""

    content_type: str  #: by its first bytes
    width: int  #: px
    height: int  #: px

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


def read_header(blobs: Ranges, ref: ObjectRef, *, etag: str, size: int) -> Header:
    """The header of an object of this version and size.

    Raises:
        HeaderUnreadable: it is no picture that we read, or its header is damaged.
        ObjectMissing, ObjectChanged, ObjectDenied, StorageUnavailable: see ``BlobStore.read_range``.
    """
    file = _Ranged(blobs, ref, etag=etag, size=size)
    start = file.read(SNIFF_BYTES)
    kind = sniff(start)
    if kind is None:
        why = "The file is empty." if not start else "Its first bytes are no JPEG, PNG, TIFF, WebP, GIF or AVIF."
        raise HeaderUnreadable("image_unreadable", why)
    file.seek(0)
    try:
        found = imagesize.get_info(file, dpi=False, colors=False, exif_rotation=False, channels=False)
    except _Exhausted as err:
        raise HeaderUnreadable("image_truncated", "Its header does not come to an end.") from err
    except ObjectError:
        raise
    # A border: foreign code over a stranger's bytes, which raises whatever these make it raise.
    except Exception as err:
        raise HeaderUnreadable("image_truncated", f"It begins as {kind}, but its header is damaged.") from err
    if found.width < 1 or found.height < 1:
        raise HeaderUnreadable("image_truncated", f"It begins as {kind}, but its header says no size.")
    return Header(content_type=kind, width=found.width, height=found.height)


class _Exhausted(Exception):
    """Raised when a header wants more than a header has."""


class _Ranged:
    """An object as a file, fetched block by block; what was fetched is kept."""

    def __init__(self, blobs: Ranges, ref: ObjectRef, *, etag: str, size: int) -> None:
        self._blobs, self._ref, self._etag, self._size = blobs, ref, etag, size
        self._blocks: dict[int, bytes] = {}
        self._reads = 0
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        self._reads += 1
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        if self._reads > MOST_READS or wanted > MOST_BLOCKS * BLOCK:
            raise _Exhausted
        found = bytearray()
        while len(found) < wanted:
            number, offset = divmod(self._at, BLOCK)
            piece = self._block(number)[offset : offset + wanted - len(found)]
            if not piece:
                break
            found += piece
            self._at += len(piece)
        return bytes(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= MOST_BLOCKS:
                raise _Exhausted
            start = number * BLOCK
            length = min(BLOCK, self._size - start)
            self._blocks[number] = self._blobs.read_range(self._ref, start=start, length=length, if_match=self._etag)
        return self._blocks[number]
