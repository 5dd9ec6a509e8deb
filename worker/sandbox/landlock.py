"""Landlock: no file can be opened by its name and no TCP connection made, from here on, by this thread and its own.

Source: Linux' Documentation/userspace-api/landlock.rst; the numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct

from worker.sandbox import kernel

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ASK_VERSION = 1

#: Version of the interface → how many file rights it knows. Whatever is handled and not granted is denied.
_FILE_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
#: Binding and connecting TCP sockets, since version 4.
_TCP_RIGHTS = 0b11
#: Abstract UNIX sockets of others, and signals to others; since version 6.
_SCOPES = 0b11


def version() -> int:
    """The kernel's version of the interface; 0 where there is none, or it is switched off."""
    try:
        return kernel.syscall(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    except OSError:
        return 0


def deny_everything() -> None:
    """Must come after ``PR_SET_NO_NEW_PRIVS``.

    Raises:
        OSError: the kernel refuses.
    """
    known = version()
    files = next((1 << count) - 1 for since, count in _FILE_RIGHTS if known >= since)
    # Older kernels expect a shorter structure.
    fields = [files, *([_TCP_RIGHTS] if known >= 4 else []), *([_SCOPES] if known >= 6 else [])]
    rules = ctypes.create_string_buffer(struct.pack(f"={len(fields)}Q", *fields))
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.addressof(rules), 8 * len(fields), 0)
    try:
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
