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

#: CPU flags, as Linux names them, that decide about speed.
DECISIVE = frozenset(
    {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_bf16", "amx_int8"}
    | {"asimd", "bf16", "i8mm", "sve", "svebf16"}  # Arm's
)


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
            "instructions": instructions(),
            "load": round(os.getloadavg()[0], 2),  # before it began: what else the machine did
        },
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in PACKAGES}
    return {name: one for name, one in found.items() if one} | {"python": platform.python_version()}


def instructions() -> list[str]:
    """Of those that decide about speed, what the CPU offers; without bfloat16's there is no reduced precision on it."""
    flags = (_first("/proc/cpuinfo", "flags") or _first("/proc/cpuinfo", "Features") or "").split()
    return [flag for flag in flags if flag in DECISIVE]


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
