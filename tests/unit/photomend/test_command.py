"""The ``photomend`` command starts fast because it imports what a command needs only when that runs."""

from __future__ import annotations

import os
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


def test_wrong_settings_are_named_all_at_once_and_without_their_values():
    """Every command but restore used to end in a traceback, with the value in it."""
    environment = os.environ | {"PHOTOMEND_LEASE_S": "-1", "PHOTOMEND_REDIS_URL": "user:secret@redis.example"}
    words = [sys.executable, "-m", "photomend", "doctor"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(" is not valid")[0] for line in lines] == [
        "The setting PHOTOMEND_REDIS_URL",
        "The setting PHOTOMEND_LEASE_S",
    ]
    assert "secret" not in done.stderr


def test_the_package_is_also_a_module_to_run():
    said = run("-m", "photomend", "--help")
    for command in ("restore", "demo", "up", "submit", "status", "cancel", "models", "api", "keeper", "worker"):
        assert command in said
