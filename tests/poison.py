"""Pictures that end the process which restores them with the fake restorer: each kind is a width (px) of its own."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from tests.fleet import png


class Poison(IntEnum):
    """What a picture of this width does."""

    SEGFAULT = 101
    ABORT = 102
    EXIT = 103  #: a library ends the program
    HOG = 104  #: takes memory until it is stopped
    HANG = 105  #: device work that never ends
    DEVICE = 106  #: the GPU's context is lost under it
    LEAK = 107  #: ends well, and leaves memory behind


#: Memory that LEAK leaves behind, and that HOG takes at each step (MB).
LEAK_MB, HOG_STEP_MB = 20, 50
#: More than the fake device can have.
HANG_S = 600.0

_LEAKED: list[bytearray] = []


class DeviceLost(RuntimeError):
    """Words its failure as torch does."""


def picture(kind: Poison) -> bytes:
    return png(width=kind)


def is_lost(error: BaseException) -> bool:
    return isinstance(error, DeviceLost)


def act(width: int) -> None:
    """Do what a picture of this width does; called as device work."""
    if width in set(Poison):
        _ACTS[Poison(width)]()


def _hog() -> None:
    while True:
        _leak(HOG_STEP_MB)
        time.sleep(0.05)


def _leak(megabytes: int) -> None:
    block = bytearray(megabytes * 1024 * 1024)
    block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
    _LEAKED.append(block)


def _lose_device() -> None:
    raise DeviceLost("CUDA error: an illegal memory access was encountered")


_ACTS: dict[Poison, Callable[[], object]] = {
    Poison.SEGFAULT: lambda: ctypes.string_at(0),
    Poison.ABORT: os.abort,
    Poison.EXIT: lambda: os._exit(3),
    Poison.HOG: _hog,
    Poison.HANG: lambda: threading.Event().wait(HANG_S),
    Poison.DEVICE: _lose_device,
    Poison.LEAK: lambda: _leak(LEAK_MB),
}
