"""The ``photomend`` command starts fast because it imports what a command needs only when that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "numpy", "cv2", "celery", "fastapi", "redis", "boto3", "skimage", "swift", "pydantic")


def run(*words: str) -> str:
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_help_needs_nothing_heavy():
    code = f"import sys, photomend.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run("-c", code).strip() == "[]"


def test_the_package_is_also_a_module_to_run():
    said = run("-m", "photomend", "--help")
    for command in ("restore", "demo", "up", "submit", "status", "cancel", "models", "api", "keeper", "worker"):
        assert command in said
