"""Arrays of a picture's size that need not stay in memory: above a limit their pages lie in a file without a name.

The system writes such pages to the disk when memory is short and drops them; they count as file cache and not as
memory that the process holds. The folder is Python's for temporary files (``TMPDIR``), which must lie on a disk: a
``tmpfs`` is memory by another name.
"""

from __future__ import annotations

import contextlib
import io
import math
import mmap
import os
import tempfile
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.errors import ScratchFull

#: Bytes, in memory or on the disk; either can be sliced, hashed, measured by ``len`` and written to a file.
Data = bytes | mmap.mmap

#: Parts of one file, in order: views of a large one, and what is put between them.
Pieces = tuple[bytes | memoryview, ...]

#: Up to here an array stays in memory, where it is a little faster: the samples of a 10-megapixel result of 8 bits take
#: less, and three jobs at a time with three such arrays each stay well below 1 GB.
IN_MEMORY_BYTES = 64 * 1024**2

#: From here on an array in memory has pages of its own, which are not there before they are touched, and gone with it:
#: of a 24-megapixel scan's mask, only the rows of its faces. The allocator would fill them with zeros, and keep them.
OWN_PAGES_BYTES = 1024**2


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A writable array of zeros; its file, if it has one, is gone with it, however the process ends.

    Raises:
        ScratchFull: the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= min(OWN_PAGES_BYTES, IN_MEMORY_BYTES):
        return np.zeros(shape, dtype)
    if size <= IN_MEMORY_BYTES:
        own = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Filled in a quarter of the time: most of it is page faults. Not every kernel has them.
        with contextlib.suppress(OSError):
            own.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(own, dtype).reshape(shape)
    with _reserved(size) as pages:
        return np.frombuffer(mmap.mmap(pages.fileno(), size), dtype).reshape(shape)


def file() -> IO[bytes]:
    """A file without a name, for whoever closes it; what ``mapped`` made of it stays."""
    return tempfile.TemporaryFile(prefix="photomend-")


def mapped(file: IO[bytes]) -> Data:
    """What is in a file, read where it is; it must not be empty."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def joined(pieces: Pieces) -> Data:
    """The pieces as one, on the disk where they are large.

    Raises:
        ScratchFull: the disk has no room for it.
    """
    size = sum(len(piece) for piece in pieces)
    if size <= IN_MEMORY_BYTES:
        return b"".join(pieces)
    with _reserved(size) as whole:
        for piece in pieces:
            whole.write(piece)
        whole.flush()
        return mapped(whole)


def streamed(data: Data) -> bytes | BinaryIO:
    """The bytes, or an open file of what lies on the disk, without a copy."""
    return data if isinstance(data, bytes) else io.BufferedReader(_Reader(data))


class _Reader(io.RawIOBase):
    """A mapped file as a stream with a position of its own."""

    def __init__(self, data: mmap.mmap) -> None:
        self._view = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._view[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def _reserved(size: int) -> IO[bytes]:
    """A file whose bytes are there: to touch a page that no disk has room for would end the process."""
    reserved = file()
    try:
        os.posix_fallocate(reserved.fileno(), 0, size)
    except OSError as error:
        reserved.close()
        folder = tempfile.gettempdir()
        raise ScratchFull(f"{size / 1e9:.1f} GB of scratch do not fit into {folder}: {error.strerror}") from error
    return reserved
