"""A seccomp filter: the system calls that decoding needs, and death for the others.

Three answers: what a decoder needs is allowed; what libraries merely try (open a file, ask for a terminal) is refused
as if the file were closed to them; anything else kills the whole process with SIGSYS.

Source: Linux' Documentation/userspace-api/seccomp_filter.rst, linux/filter.h, linux/seccomp.h, the system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from worker.sandbox import kernel

#: Call → its number on (x86_64, aarch64); -1 = it does not exist there.
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "pwrite64": (18, 68),
    "pread64": (17, 67),
    "recvmsg": (47, 212),  # on the one socket that it is born with, until its picture has come
    "close": (3, 57),
    "lseek": (8, 62),
    "ftruncate": (77, 46),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "sysinfo": (99, 179),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
#: What libraries try and do without.
_REFUSED = {
    "open": (2, -1),
    "openat": (257, 56),
    "openat2": (437, 437),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, -1),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, -1),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "ioctl": (16, 29),
    "sched_getattr": (315, 275),
    "sched_setattr": (314, 274),
}
_CLONE, _CLONE3, _PRCTL, _PRLIMIT, _TGKILL = (56, 220), (435, 435), (157, 167), (302, 261), (234, 131)
_CLONE_THREAD, _PR_SET_NAME = 0x10000, 15

#: AUDIT_ARCH_*, in the order of the columns above.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: x86_64's other numbering (x32) would be a way around the list.
_X32 = 0x40000000

#: SECCOMP_RET_*.
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_MODE_FILTER = 2

#: BPF: load a word of ``struct seccomp_data``, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

Program = list[tuple[int, int, int, int]]  #: code, jump if true, jump if false, operand


def is_known_architecture() -> bool:
    """Whether the numbers above are those of this machine."""
    return platform.machine() in _ARCHITECTURES


def program(machine: str, *, pid: int) -> Program:
    """The filter for ``machine``, in which process ``pid`` may raise signals in itself (abort does)."""
    column = list(_ARCHITECTURES).index(machine)
    check_architecture: Program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    simple = [_answer(numbers[column], _ALLOW) for numbers in _ALLOWED.values()]
    simple += [_answer(numbers[column], _ERRNO | errno.EACCES) for numbers in _REFUSED.values()]
    # Its flags lie in memory, out of a filter's sight; without it, the C library takes clone.
    simple.append(_answer(_CLONE3[column], _ERRNO | errno.ENOSYS))
    by_argument = [
        _answer_by_argument(_CLONE[column], (_ANY_BIT, _CLONE_THREAD), otherwise=_KILL),
        _answer_by_argument(_PRCTL[column], (_EQUAL, _PR_SET_NAME), otherwise=_ERRNO | errno.EPERM),
        # Of itself: without capabilities it can only go down.
        _answer_by_argument(_PRLIMIT[column], (_EQUAL, 0), otherwise=_KILL),
        _answer_by_argument(_TGKILL[column], (_EQUAL, pid), otherwise=_KILL),
    ]
    return check_architecture + [step for part in simple + by_argument for step in part] + [(_RETURN, 0, 0, _KILL)]


def _answer(number: int, answer: int) -> Program:
    return [] if number < 0 else [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]


def _answer_by_argument(number: int, test: tuple[int, int], *, otherwise: int) -> Program:
    """Allow the call where its first argument's low half passes the test."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (test[0], 0, 1, test[1]),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, otherwise),
    ]


def install() -> None:
    """Put this thread, and those that it starts, under the filter. Must come after ``PR_SET_NO_NEW_PRIVS``.

    Raises:
        OSError: the kernel refuses.
    """
    steps = program(platform.machine(), pid=os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(head))
