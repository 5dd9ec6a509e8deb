"""``photomend worker --self-test`` with the real networks of the preview pack, one of them damaged the second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from pipeline.weights import preview_folder
from tests.fleet import environment


@pytest.mark.timeout(300)
def test_the_self_test_runs_everything_that_a_worker_needs(jobs_settings: JobsSettings, tmp_path: Path) -> None:
    env = environment(jobs_settings) | {
        "PHOTOMEND_ALLOW_PREVIEW": "1",
        "PHOTOMEND_ENGINE": "torch",
        "PHOTOMEND_WEIGHTS_DIR": str(tmp_path / "weights"),
        "PHOTOMEND_CACHE_DIR": str(tmp_path / "cache"),
    }
    # Somebody's own restorer, whose file is not what its entry says.
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.pth").write_bytes((preview_folder() / "restorer.pth").read_bytes()[:-1])
    (tmp_path / "weights" / "local.toml").write_text(
        '[[local]]\nname = "gfpgan-1.2"\nfile = "mine.pth"\nkind = "restorer"\narchitecture = "preview"\n'
        f'licence = "x"\nsha256 = "{"0" * 64}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "photomend", "worker", "--cpu", "1", "--self-test", "--json"],
        env=os.environ | env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    lines = {line["name"]: line for line in told["checks"]}
    failed = {name for name, line in lines.items() if line["verdict"] == "failed"}
    assert failed == {"cpu0.weights.gfpgan-1.2"}, done.stderr
    assert "photomend models fetch gfpgan-1.2" in lines["cpu0.weights.gfpgan-1.2"]["said"]
    assert (done.returncode, told["ok"]) == (1, False)
    for name in ("device", "sandbox", "weights.preview", "canary.preview", "canary.preview-detector", "restoration"):
        assert lines[f"cpu0.{name}"]["verdict"] in {"ok", "warning"}, name
    assert lines["redis.durability"]["verdict"] == lines["storage.write"]["verdict"] == "ok"
    assert "settings.callback_secret" not in lines, "workers are not given it"
