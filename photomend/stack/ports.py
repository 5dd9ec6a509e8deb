"""Free TCP ports on loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack

#: The stack's servers trust whoever reaches them, so they listen here and nowhere else.
LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> tuple[int, ...]:
    """``count`` different ports that were free a moment ago; another process may still take one first."""
    with ExitStack() as held:
        return tuple(held.enter_context(_bound(0)).getsockname()[1] for _ in range(count))


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of loopback now."""
    try:
        with _bound(port):
            return True
    except OSError:
        return False


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As servers do it, so that connections of the last run in TIME_WAIT do not make a port look taken.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError:
        listener.close()
        raise
    return listener
