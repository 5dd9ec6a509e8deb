"""The machine, the versions and the commit that figures belong to."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Packages whose versions decide about speed.
PACKAGES = ("photomend", "torch", "openvino", "numpy", "opencv-python", "pyvips", "gfpgan", "facexlib", "basicsr")


def described(cores: int) -> dict[str, Any]:
    """What ``latest.json`` says before its rows; ``cores``: those that each side may use."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
            "cores": cores,
            "memory_gb": round(int((_first("/proc/meminfo", "MemTotal") or "0").split()[0]) / 1e6),
            "system": f"{platform.system()} {platform.release()}",
            "gpu": _gpu(),
            "load": round(os.getloadavg()[0], 2),  # before it began: what else the machine did
        },
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in PACKAGES}
    return {name: one for name, one in found.items() if one} | {"python": platform.python_version()}


def _first(path: str, name: str) -> str | None:
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> str | None:
    return _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _commit() -> str | None:
    """Of the source tree that this package lies in; with ``+`` where something is changed there; None elsewhere."""
    tree = Path(__file__).parents[2]
    if not (tree / ".git").exists():
        return None
    commit = _said("git", "-C", str(tree), "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "-C", str(tree), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+" if commit and changed else commit


def _said(*command: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - ours
        return done.stdout.strip() or None
    return None
