"""One fleet per test, over our own Redis and S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from tests.fleet import LEASE_S, Fleet


@pytest.fixture
def fleet(jobs_settings: JobsSettings, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(jobs_settings.model_copy(update={"lease_s": LEASE_S, "resend_after_s": 1.0}), tmp_path)
    yield fleet
    fleet.close()
