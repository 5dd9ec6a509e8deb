"""What the local stack takes from its surroundings. The environment is read here, for photomend/stack, only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobs.environment import overlaid


def child_environment(forced: Mapping[str, str]) -> dict[str, str]:
    """Our environment with ``forced`` on top, for a process that the stack starts."""
    return overlaid(os.environ, forced)
