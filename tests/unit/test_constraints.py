"""The pinned versions fit what the project declares, and pin all of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PINNED = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LINES}


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_a_declared_package_is_pinned_to_a_version_that_is_allowed(requirement):
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


def test_every_line_is_one_exact_version_that_both_builds_of_torch_share():
    assert all(line.count("==") == 1 and "+" not in line for line in LINES)


def test_what_the_tests_run_on_is_what_is_pinned():
    from importlib.metadata import version

    for name in ("celery", "redis", "boto3", "numpy", "fastapi"):
        assert version(name) == PINNED[name]
