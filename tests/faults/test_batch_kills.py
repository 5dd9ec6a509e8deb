"""A small batch while worker, keeper, API and Redis are killed, each once; ``make batch-kills`` is the large one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.batch_kills import VICTIMS, Yard, run
from tests.faults.batch_proof import made_pictures, manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_batch_reconciles_though_each_part_of_the_service_was_killed(tmp_path: Path, record_property) -> None:
    wanted = manifest(made_pictures(12), bad=1)
    with Yard(tmp_path, is_real=False) as yard:
        found = run(yard, wanted, kills=1, options={}, tell=lambda _: None)
    record_property("strikes", len(found.strikes))
    assert found.broken == []
    assert [strike["victim"] for strike in found.strikes] == list(VICTIMS)
    assert found.statuses == {"succeeded": 12, "failed": 6}
    assert found.attempts > 1, "another keeper took the batch up"
