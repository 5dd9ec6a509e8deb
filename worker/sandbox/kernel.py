"""The few calls to the kernel that Python has no function for. Linux only."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)

_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MAP_FAILED = ctypes.c_void_p(-1).value

#: ``prctl`` options. Source: linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
#: The size of a huge page on x86-64, and on arm64 with pages of 4 KB; elsewhere only an alignment (bytes).
HUGE_PAGE = 2 * 1024**2
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000  # Source: asm-generic/mman-common.h, asm-generic/mman.h.
_MREMAP_MAYMOVE = 1
_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23


def prctl(option: int, argument: int, more: int = 0) -> None:
    """Change this process.

    Raises:
        OSError: the kernel refuses.
    """
    unused = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(more), unused, unused))


def drop_capabilities() -> None:
    """Be nobody special, even where the user is root.

    Raises:
        OSError: the kernel refuses.
    """
    # Version 3 of the interface, this process; then effective, permitted and inheritable, twice 32 of each.
    head = struct.pack("=Ii", 0x20080522, 0)
    _checked(_libc.capset(head, bytes(24)))


def syscall(number: int, *arguments: int) -> int:
    """The call's result.

    Raises:
        OSError: the kernel refuses, or does not have the call.
    """
    return _checked(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))


def map_shared(file: int, size: int) -> memoryview:
    """So many bytes of a file as memory that is the file, until ``unmap`` or this process' end.

    Python's own ``mmap`` duplicates the file first, which a process that may open no file cannot do.

    Raises:
        OSError: the kernel refuses.
    """
    # Where huge pages are allowed for it, they are only used at a multiple of their size.
    spare = HUGE_PAGE if size >= HUGE_PAGE else 0
    reserved = _placed(_libc.mmap(None, size + spare, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, -1, 0))
    before = -reserved % HUGE_PAGE if spare else 0
    place = reserved + before
    try:
        access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED
        _placed(_libc.mmap(place, size, access, kind, file, 0))
    except OSError:
        _checked(_libc.munmap(reserved, size + spare))
        raise
    pages_end = place + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    for start, length in ((reserved, before), (pages_end, reserved + size + spare - pages_end)):
        if length > 0:
            _checked(_libc.munmap(start, length))
    _libc.madvise(place, size, _MADV_HUGEPAGE)  # a wish: kernels without them refuse
    return _view(place, size)


def grow(memory: memoryview, size: int) -> memoryview:
    """As many bytes as ``size`` in place of ``memory``, which ``map_shared`` gave and nobody may use any more.

    Raises:
        OSError: the kernel refuses; nothing has changed.
    """
    return _view(_placed(_libc.mremap(_address(memory), memory.nbytes, size, _MREMAP_MAYMOVE)), size)


def populate(memory: memoryview) -> None:
    """Have the kernel find pages for it now, and not at the first touch of each.

    Raises:
        OSError: the kernel has no such call (before 5.14), or no memory.
    """
    _checked(_libc.madvise(_address(memory), memory.nbytes, _MADV_POPULATE_WRITE))


def unmap(memory: memoryview) -> None:
    """Take back what ``map_shared`` gave; whoever touches it after this dies.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.munmap(_address(memory), memory.nbytes))


def received(connection: socket.socket, size: int, most_files: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """A message and its files, which no program inherits. Python's own ``recv_fds`` forgets the flags.

    Raises:
        OSError: the connection is broken, or nothing has come and the flags say not to wait.
    """
    numbers = array.array("i")
    room = socket.CMSG_LEN(most_files * numbers.itemsize)
    message, ancillary, _, _ = connection.recvmsg(size, room, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return message, list(numbers)


def _view(place: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(place)).cast("B")


def _address(memory: memoryview) -> int:
    return ctypes.addressof(ctypes.c_ubyte.from_buffer(memory))


def _placed(place: int | None) -> int:
    if place is None or place == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return place


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
