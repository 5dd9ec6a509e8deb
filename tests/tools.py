"""Command-line tools that come as packages: beside this Python, else on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def tool(name: str) -> str:
    """Where the tool is; the extra ``dev`` brings it.

    Raises:
        FileNotFoundError: it is nowhere.
    """
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which(name, path=places)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; pip install -c constraints.txt '.[dev]'")
    return found
