"""Locking a forked child in, from the inside, before it looks at a byte."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox import kernel, landlock, seccomp

#: The child's files beside the three standard ones: the picture to read, the answer to write, a pipe for the word that
#: the answer is whole, and the socket by which the picture comes; it is closed then.
PICTURE_FD, ANSWER_FD, DONE_FD, REQUEST_FD = 3, 4, 5, 6

#: Numbers from here on are none of the above.
_OUT_OF_THE_WAY = 10

#: Wall clock over CPU time: a busy machine is no fault of the picture's, a child that sleeps is.
WALL_OVER_CPU = 2.0
#: How much longer than its children a zygote is waited for (seconds).
OVERTIME_S = 10.0
#: What a child may allocate whatever its picture's size (bytes): stacks, tables, profiles, metadata.
BASE_BYTES = 256 * 1024**2
#: And for each pixel: twice what the hungriest decoder takes for 8 bits, since there are 16 too.
#: Source: peak address space over the start's for 20 megapixels: AVIF 20 bytes a pixel, WebP 19, progressive CMYK JPEG
#: 13, PNG, GIF and TIFF of one strip 8 to 10.
BYTES_PER_PIXEL = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one child may use."""

    memory_bytes: int  #: address space beyond what it is born with and the file itself
    cpu_s: float

    @property
    def wall_s(self) -> float:
        return self.cpu_s * WALL_OVER_CPU

    @property
    def longest_s(self) -> float:
        """After so long a zygote that did not end its child is given up itself."""
        return self.wall_s + OVERTIME_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """What the kernel gives beside resource limits."""

    seccomp: bool
    landlock: bool

    @property
    def are_complete(self) -> bool:
        return self.seccomp and self.landlock


def memory_for(pixels: int) -> int:
    """Bytes that an honest picture of so many pixels stays under."""
    return BASE_BYTES + BYTES_PER_PIXEL * pixels


def keep_only(answer: int, done: int, request: int) -> None:
    """Close every file but these and the standard ones, which lead nowhere; the picture gets the number between."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    # All out of the way first: any of them may have a number that another one is to get.
    kept = {0: nowhere, 1: nowhere, 2: nowhere, ANSWER_FD: answer, DONE_FD: done, REQUEST_FD: request}
    moved = {number: fcntl.fcntl(file, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for number, file in kept.items()}
    for number, file in moved.items():
        os.dup2(file, number)
    os.closerange(PICTURE_FD, ANSWER_FD)
    os.closerange(REQUEST_FD + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def lock_in(protections: Protections) -> int:
    """All that does not depend on the picture; after it nothing can be opened, started, connected to or signalled.

    There is no limit on processes: RLIMIT_NPROC counts all threads of the user on the machine, the worker's too.

    Args:
        protections: what the kernel was found to give.

    Returns:
        The address space that it starts with (bytes); see ``limit``.

    Raises:
        OSError: the kernel refuses what it gave before.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    # Root could raise its limits again.
    kernel.drop_capabilities()
    # Python ignores it; as a death it says what happened.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    if protections.landlock:
        landlock.deny_everything()
    # From here on no file can be opened, not even by us; the one that comes has its number.
    _limit(resource.RLIMIT_NOFILE, REQUEST_FD + 1)
    if protections.seccomp:
        seccomp.install()
    return pages * resource.getpagesize()


def limit(bounds: Bounds, *, born_bytes: int, picture_bytes: int, answer_bytes: int) -> int:
    """What one picture may cost.

    Args:
        bounds: memory and time.
        born_bytes: what ``lock_in`` gave.
        picture_bytes: of the file, which may be in memory once more.
        answer_bytes: the most that may be written.

    Returns:
        The address space that it starts with, the file counted twice (bytes); see ``limit_memory``.

    Raises:
        OSError: the kernel refuses.
    """
    _limit(resource.RLIMIT_NOFILE, DONE_FD + 1)
    _limit(resource.RLIMIT_FSIZE, answer_bytes)
    seconds = max(1, round(bounds.cpu_s))
    # SIGXCPU at the first, which a hostile child may ignore; SIGKILL at the second.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    begin_bytes = born_bytes + picture_bytes
    limit_memory(begin_bytes + bounds.memory_bytes)
    return begin_bytes


def limit_memory(address_space_bytes: int) -> None:
    """At most so many, and never more than before; once the header is read, the picture's own need is known."""
    _limit(resource.RLIMIT_AS, address_space_bytes)


def _limit(which: int, most: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def probe() -> Protections:
    """What the kernel gives, found out by children that try it: asking does not tell what a container forbids."""
    return Protections(
        seccomp=seccomp.is_known_architecture() and _works(seccomp.install),
        landlock=landlock.version() > 0 and _works(landlock.deny_everything),
    )


def _works(protect: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            protect()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
