"""Every error of the local stack on one page.

::

    StackError
    ├── ServerMissing     no binary or package for a server that is needed
    ├── ServerFailed      a process did not start, or ended by itself
    └── PortTaken         the port that was asked for is in use

``str(error)`` is one sentence for the person at the terminal; ``log_tail`` the last lines of the process, if it had
any.
"""

from __future__ import annotations


class StackError(Exception):
    """Raised when the local stack cannot run; see the subclasses."""

    def __init__(self, message: str, *, log_tail: str = "") -> None:
        super().__init__(message)
        #: The last lines that the guilty process wrote; empty when there are none.
        self.log_tail = log_tail


class ServerMissing(StackError):
    """Raised when neither a binary nor a package of a server that is needed is installed."""


class ServerFailed(StackError):
    """Raised when a process of the stack does not get ready, or ends without having been asked to."""


class PortTaken(StackError):
    """Raised when the port that was asked for is in use by somebody else."""
