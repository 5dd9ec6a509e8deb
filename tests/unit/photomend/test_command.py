"""The ``photomend`` command starts fast because it imports what a command needs only when that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from photomend.cli import COMMANDS, app

ROOT = Path(__file__).parents[3]
#: What a list of commands has no use for.
HEAVY = {
    *("torch", "torchvision", "numpy", "cv2", "pyvips", "skimage", "openvino", "celery", "kombu", "redis", "boto3"),
    *("botocore", "fastapi", "uvicorn", "httpx", "pydantic", "structlog", "swift", "api", "worker", "pipeline"),
    *("photomend.client", "photomend.terminal"),
}


def run(*words: str) -> str:
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after this code."""
    return set(run("-c", f"import sys\n{code}\nprint(*sys.modules)").splitlines()[-1].split())


def test_the_package_is_light():
    assert not loaded_by("import photomend") & HEAVY


def test_the_list_of_commands_loads_none_of_them_and_nothing_heavy():
    found = loaded_by(
        "import contextlib, photomend.cli\n"
        "sys.argv = ['photomend', '--help']\n"
        "with contextlib.suppress(SystemExit):\n    photomend.cli.main()"
    )
    assert "typer.rich_utils" in found, "it was shown"
    assert not found & HEAVY
    assert not [name for name in found if name.startswith("photomend.commands.")]


def test_a_command_loads_its_own_module_alone():
    found = loaded_by("import photomend.cli\nphotomend.cli.Commands(name='').commands['keeper']")
    assert [name for name in found if name.startswith("photomend.commands.")] == ["photomend.commands.keeper"]
    assert not found & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name):
    command = get_command(app).commands[name]
    assert " ".join((command.help or "").split("\n\n")[0].split()) == COMMANDS[name].summary


def test_every_command_is_in_the_list():
    there = {path.stem for path in (ROOT / "photomend" / "commands").glob("*.py")}
    shared = {"__init__", "bag", "batch_review", "estimate", "fetched", "flags", "local", "operating", "train_gan"}
    assert there - shared == {entry.module for entry in COMMANDS.values()}


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
