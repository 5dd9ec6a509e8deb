"""A zygote whose decoder does what a file tells it to: what code does that a file has taken over.

A file that begins with ``MARK`` names an act; any other is decoded as always. For tests only; no setting leads here.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.decode import Limits, read
from pipeline.source import SourceImage
from pipeline.vips import Allocate
from worker.sandbox import answer, confine, kernel, zygote

MB = 1024**2
#: Begins as a JPEG file, so that nobody on the way takes it for anything else.
MARK = b"\xff\xd8\xff-act:"


def evil(act: str, argument: str = "") -> bytes:
    """A file that makes the decoder do ``act``."""
    return MARK + f"{act}:{argument}".encode()


def decode(data: bytes, *, limits: Limits, page: int, allocate: Allocate) -> SourceImage:
    if not data.startswith(MARK):
        return read(data, limits=limits, page=page, allocate=allocate)
    act, _, argument = data[len(MARK) :].decode().partition(":")
    if act == "measure":
        allocate(int(argument))
    ACTS[act](argument)
    # Something harmless would be wrong: whoever gets here was not stopped.
    os._exit(77)


def _spin(_: str) -> None:
    while True:
        pass


def _spin_deaf(_: str) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    _spin("")


def _allocate(_: str) -> None:
    held = []
    while True:
        held.append(bytes(16 * 1024**2))


def _allocate_shared(_: str) -> None:
    held = []
    while True:
        held.append(mmap.mmap(-1, 16 * 1024**2))


def _raise_limit(_: str) -> None:
    """To as much as there is."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _measure(argument: str) -> None:
    """How much memory there is for a picture of so many bytes."""
    held = []
    with contextlib.suppress(MemoryError):
        while True:
            held.append(bytes(MB))
    raise RuntimeError(f"{len(held)} MB")


def _write_garbage(argument: str) -> None:
    os.write(confine.ANSWER_FD, bytes.fromhex(argument))
    os._exit(0)


def _write_much(_: str) -> None:
    while True:
        os.write(confine.ANSWER_FD, bytes(16 * 1024**2))


def _stay_mapped(_: str) -> None:
    """End well, with the answer still mapped for writing in a process that got away."""
    os.ftruncate(confine.ANSWER_FD, 4096)
    mmap.mmap(confine.ANSWER_FD, 4096)
    os.fork()


def _say_done_and_spin(_: str) -> None:
    os.write(confine.DONE_FD, b"1")
    _spin_deaf("")


def _say_done_and_hold(argument: str) -> None:
    """Call an answer done that can still be changed."""
    held = answer.Answer(confine.ANSWER_FD).allocate(int(argument))
    os.write(confine.DONE_FD, b"1" * len(held[:1]))
    _spin_deaf("")


def _seal_first(_: str) -> None:
    fcntl.fcntl(confine.ANSWER_FD, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    os._exit(0)


def _say(argument: str) -> None:
    """Refuse the picture with a code and words of its choice."""
    code, _, words = argument.partition("|")
    answer.Answer(confine.ANSWER_FD).refuse_with(code, words)
    os._exit(0)


def _raise(argument: str) -> None:
    raise ZeroDivisionError(argument)


ACTS: dict[str, Callable[[str], Any]] = {
    "segfault": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "exit": lambda argument: os._exit(int(argument)),
    "raise": _raise,
    "spin": _spin,
    "spin-deaf": _spin_deaf,
    "sleep": lambda argument: time.sleep(float(argument)),
    "allocate": _allocate,
    "allocate-shared": _allocate_shared,
    "fork": lambda _: os.fork(),
    "exec": lambda _: os.execv("/bin/true", ["true"]),
    "open": lambda argument: Path(argument).read_bytes(),
    "create": lambda argument: Path(argument).write_bytes(b"x"),
    "socket": lambda _: socket.socket(),
    "kill-parent": lambda _: os.kill(os.getppid(), signal.SIGKILL),
    "kill-self": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "new-file": lambda _: os.memfd_create("x"),
    "ptrace": lambda _: kernel.syscall(101, 16, os.getppid(), 0, 0),
    "measure": _measure,
    "raise-limit": _raise_limit,
    "write-picture": lambda _: os.write(confine.PICTURE_FD, b"x"),
    "write-garbage": _write_garbage,
    "write-much": _write_much,
    "stay-mapped": _stay_mapped,
    "say-done-and-spin": _say_done_and_spin,
    "say-done-and-hold": _say_done_and_hold,
    "seal-first": _seal_first,
    "say": _say,
}


if __name__ == "__main__":
    zygote.main(decode)
