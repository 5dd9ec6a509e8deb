"""What can go wrong in the demo besides the stack itself."""

from __future__ import annotations


class DemoError(Exception):
    """Raised when the demo cannot go on; ``str(error)`` is the sentence for the person at the terminal."""
