"""What a child says, as bytes: two lengths, the samples of the colours and of alpha, a description in JSON.

The child's half, which imports little; ``verify.py`` is the worker's. Never pickle: the child may not be itself.
What follows the description means nothing: the file may be longer, since its memory is made ready before the picture
comes, and to give some of that back takes as long as to find it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.source import SourceImage
from pipeline.vips import Samples
from worker.sandbox import kernel

#: The samples' length and the description's, little-endian, filled up so that samples of any depth may follow.
HEAD = struct.Struct("<QQ48x")
#: Longest description (bytes): metadata is in it, which is far shorter in any honest file.
MAX_DESCRIPTION = 64 * 1024**2
#: Codes for what no ``PipelineError`` stands for.
OUT_OF_MEMORY, UNEXPECTED, NOT_CONFINED = "memory", "unexpected", "not-confined"
#: The most that one ``write`` takes on Linux is a page less than 2 GiB (bytes).
_PIECE = 1 << 30
#: So much memory is made ready at once (bytes): a few ms, which a picture that has come meanwhile waits for.
_READY_PIECE = 2 * kernel.HUGE_PAGE


class Answer:
    """A file in memory, all zeros, that the worker will read. Samples are decoded into it, where they can be."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._memory: memoryview | None = None

    @property
    def mapped_bytes(self) -> int:
        """How much of this process' address space it takes."""
        return 0 if self._memory is None else self._memory.nbytes

    def make_ready(self, size: int) -> Iterator[None]:
        """Find memory for so many bytes, some at each step; as much as there is."""
        if size == 0:
            return
        with contextlib.suppress(OSError, MemoryError):
            memory = self._reach(size)
            for at in range(0, size, _READY_PIECE):
                kernel.populate(memory[at : at + _READY_PIECE])
                yield

    def allocate(self, size: int) -> memoryview:
        """The place of the samples; a second call gives the same place again.

        Raises:
            MemoryError: there is no room.
        """
        return self._reach(HEAD.size + size)[HEAD.size : HEAD.size + size]

    def write(self, source: SourceImage) -> None:
        """Say that this is the picture."""
        planes = [source.samples] if source.alpha is None else [source.samples, source.alpha]
        at = HEAD.size
        for plane in planes:
            if not self._holds(plane, at):
                self._write(at, plane.reshape(-1).view(np.uint8).data)
            at += plane.nbytes
        description = {
            "header": dataclasses.asdict(source.header),
            "metadata": dataclasses.asdict(source.metadata),
            "profile": source.space.profile,
            "notices": [dataclasses.asdict(notice) for notice in source.notices],
        }
        self._end(at - HEAD.size, description)

    def refuse(self, error: BaseException) -> None:
        """Say why there is no picture."""
        if isinstance(error, PipelineError):
            self.refuse_with(error.code, str(error))
        elif isinstance(error, MemoryError):
            self.refuse_with(OUT_OF_MEMORY)
        else:
            self.refuse_with(UNEXPECTED, f"{type(error).__name__}: {error}")

    def refuse_with(self, code: str, words: str = "") -> None:
        """Say so, in place of whatever was said before."""
        self._end(0, {"code": code, "words": words})

    def let_go(self) -> None:
        """Keep no way to change it but the file itself: one that is still mapped cannot be sealed."""
        memory, self._memory = self._memory, None
        if memory is not None:
            kernel.unmap(memory)

    def _reach(self, size: int) -> memoryview:
        """The file's first bytes as memory, at least so many."""
        held = self._memory
        if held is not None and held.nbytes >= size:
            return held
        try:
            os.ftruncate(self._file, size)
            self._memory = kernel.map_shared(self._file, size) if held is None else kernel.grow(held, size)
        except OSError as error:
            raise MemoryError(str(error)) from error
        return self._memory

    def _holds(self, plane: Samples, at: int) -> bool:
        """Whether the samples are at that place already."""
        if self._memory is None or not plane.flags.c_contiguous or self._memory.nbytes < at + plane.nbytes:
            return False
        return np.frombuffer(self._memory[at:], np.uint8).ctypes.data == plane.ctypes.data

    def _end(self, samples: int, description: dict[str, Any]) -> None:
        said = json.dumps(description, default=lambda blob: base64.urlsafe_b64encode(blob).decode()).encode()
        self._write(HEAD.size + samples, memoryview(said))
        self._write(0, memoryview(HEAD.pack(samples, len(said))))

    def _write(self, at: int, left: memoryview) -> None:
        while left:
            written = os.pwrite(self._file, left[:_PIECE], at)
            left, at = left[written:], at + written


def length(file: int) -> int:
    """How much of it means something, by its own word (bytes)."""
    head = os.pread(file, HEAD.size, 0)
    return HEAD.size + sum(HEAD.unpack(head)) if len(head) == HEAD.size else 0


def most_bytes(pixels: int) -> int:
    """The longest answer about a picture of so many pixels: CMYK of 16 bits with alpha."""
    return HEAD.size + pixels * 10 + MAX_DESCRIPTION
