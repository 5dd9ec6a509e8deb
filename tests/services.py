"""What a test does when a service it needs is not there: skip at home, fail in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip where a person runs the tests, fail where CI does: there, nothing may be left out unseen."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI must have it)", pytrace=False)
    pytest.skip(reason)
