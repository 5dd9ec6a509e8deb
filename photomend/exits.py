"""Exit codes of the ``photomend`` command. 2, the command line is wrong, is typer's own."""

from __future__ import annotations

#: An input failed, the service refused, or something is not as it should be.
FAILED = 1
#: Ctrl-C, as shells count it.
INTERRUPTED = 130
