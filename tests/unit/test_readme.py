"""The README says what the code does: its tables are the code's, its options and states are all there."""

from __future__ import annotations

import dataclasses
import re

from jobs.options import CHOICES, JobOptions
from jobs.states import MOVES, JobState
from tests import readme

TEXT = readme.README.read_text()


def section(title: str) -> str:
    return re.split(r"\n###? ", TEXT.split(f"\n### {title}\n", 1)[1], maxsplit=1)[0]


def test_the_first_lines_are_the_two_commands():
    assert [line.split("#")[0].strip() for line in TEXT.splitlines()[1:3]] == ["make demo", "make test"]


def test_the_tables_of_settings_and_errors_are_the_code_s():
    assert readme.with_tables(TEXT) == TEXT, "run `make readme`"


def test_every_option_and_each_of_its_choices_is_explained():
    table = section("Options")
    for option in dataclasses.fields(JobOptions):
        assert f"`{option.name}`" in table, option.name
    missing = [word for words in CHOICES.values() for word in words if f"`{word}`" not in table]
    assert missing == []


def test_every_state_is_listed_with_exactly_its_legal_moves():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", section("States of a job"), re.MULTILINE))
    said = {state: set(re.findall(r"`(\w+)`", moves)) for state, moves in rows.items()}
    assert said == {str(state): {str(to) for to in MOVES[state]} for state in JobState}


def test_every_command_it_shows_exists():
    from typer.main import get_command

    from photomend.cli import app

    commands = set(get_command(app).commands)
    code = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) + re.findall(r"`(photomend [^`\n]*)`", TEXT))
    shown = set(re.findall(r"(?:^|[·/] *)photomend ([a-z]+)", code, re.MULTILINE))
    assert {"restore", "up", "submit", "api", "keeper", "worker", "models"} <= shown
    assert shown <= commands


def test_every_make_target_it_shows_exists():
    makefile = (readme.README.parent / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    shown = set(
        re.findall(r"(?:^|[ `])make ([a-z]+)", "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)), re.M)
    )
    assert {"demo", "test", "unit", "check"} <= shown
    assert shown <= targets


def test_every_how_to_is_run_by_a_test_or_says_before_it_why_not():
    # By tests/acceptance/test_readme.py and test_delivery.py, and unit tests.
    # A new one gets a test, or a line: <!-- not run: why -->
    run = [
        ("Submit a photo", "sh"), ("Submit a photo", "python"), ("Submit a photo", "js"),
        ("Choose which faces are restored", "sh"), ("Deliver a folder of scans", "sh"),
        ("Receive callbacks", "python"), ("Receive callbacks", "js"),
        ("Give tenants keys", "sh"),
        ("Train a restorer", "toml"),
    ]  # fmt: skip
    assert [(one.title, one.language) for one in readme.snippets() if one.reason is None] == run
