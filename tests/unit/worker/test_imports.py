"""The keeper and the supervisor are light: they live on when the GPUs do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "cv2", "pyvips", "facexlib", "basicsr", "realesrgan")


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("worker.keeper, photomend.commands.keeper", HEAVY),
        ("worker.supervisor, worker.processes, worker.settings", HEAVY),
        # The tests' workers start in a second because of this.
        ("worker.consumer, worker.restoring, pipeline.selection", ("torch", "torchvision")),
        ("photomend.commands.worker, photomend.commands.keeper", (*HEAVY, "celery", "redis", "boto3")),
    ],
)
def test_a_fresh_interpreter_imports_nothing_heavy(modules: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print(sorted(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
