"""The pinned versions fit what the project declares, and pin all of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import metadata
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


#: Left open: see the head of constraints.txt; pip's own tool; what belongs to torch's build for CUDA.
OPEN = frozenset({"tb-nightly", "setuptools"})
OPEN_FAMILIES = ("cuda-", "nvidia-", "triton")


def installed() -> Iterator[tuple[str, str, str]]:
    """(package, version, who asks for it) of all that the declared packages bring, as it is installed here."""
    waiting = [(requirement, "pyproject.toml") for requirement in DECLARED]
    known: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement, asker = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in known or name in OPEN or name.startswith(OPEN_FAMILIES):
            continue
        known.add((name, extras))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # An extra that was not asked for here; what another package needs is there.
            assert asker == "pyproject.toml", f"{name}, for {asker}"
            continue
        yield name, found.version, asker
        for text in found.requires or ():
            needed = Requirement(text)
            wanted = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""})
            if wanted:
                waiting.append((needed, name))


def test_what_the_tests_run_on_is_what_is_pinned_down_to_the_last_package_that_another_one_brings():
    found = list(installed())
    assert len(found) > len(DECLARED)
    assert [f"{name}, for {asker}" for name, _, asker in found if name not in PINNED] == []
    # A build of torch names itself after the plus; the version is the same.
    other = {name: version for name, version, _ in found if version.partition("+")[0] != PINNED[name]}
    assert other == {}
