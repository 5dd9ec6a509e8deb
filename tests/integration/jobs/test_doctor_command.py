"""``photomend doctor`` as an operator uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from jobs.blobs import BlobStore
from jobs.model import Job
from jobs.object_names import result_ref
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore
from photomend.cli import app
from photomend.stack.ports import free_ports
from tests import samples


@pytest.fixture
def run(jobs_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    for name in ("redis_url", "s3_endpoint_url", "bucket"):
        monkeypatch.setenv(f"PHOTOMEND_{name.upper()}", getattr(jobs_settings, name))
    for name in ("s3_access_key_id", "s3_secret_access_key"):
        monkeypatch.setenv(f"PHOTOMEND_{name.upper()}", getattr(jobs_settings, name).get_secret_value())

    def run_doctor(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", *words])
        return result.exit_code, result.output

    return run_doctor


def test_the_doctor_names_mends_and_is_content(
    store: JobStore,
    in_state: Callable[..., Job],
    run: Callable[..., tuple[int, str]],
    jobs_settings: JobsSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = in_state(JobState.QUEUED)
    assert run() == (0, "0 violations, 0 overdue\n")
    store._redis.delete("{photomend}:backlog:interactive:local", "{photomend}:ring:interactive")
    lost = result_ref(jobs_settings.bucket, samples.job(epoch=1), "image", "png")
    BlobStore.connect(jobs_settings).put(lost, b"x", content_type="image/png")
    monkeypatch.setattr("jobs.orphans.orphans.__kwdefaults__", {"min_age_s": -60.0})
    for _ in range(2):
        code, said = run("--objects")
        assert code == 1
        assert f"{job.id}: waits nowhere\n" in said
        assert "1 violations, 0 overdue, 1 orphaned objects" in said
    code, said = run("--objects", "--repair")
    assert code == 0
    assert "; mended" in said
    assert "; deleted" in said
    code, said = run("--objects")
    assert code == 0, "advice is no fault"
    assert "does not let pages of http://127.0.0.1:8080 upload to it" in said
    assert said.endswith("\n0 violations, 0 overdue, 0 orphaned objects\n")


def test_a_store_out_of_reach_is_one_sentence_and_exit_code_1(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    code, said = run()
    assert code == 1
    assert "PHOTOMEND_REDIS_URL" in said
    assert "Traceback" not in said


def test_settings_of_redis_that_lose_jobs_are_named(store: JobStore, run: Callable[..., tuple[int, str]]) -> None:
    store._redis.config_set("maxmemory-policy", "allkeys-lru")
    store._redis.config_set("appendonly", "no")
    try:
        code, said = run()
    finally:
        store._redis.config_set("maxmemory-policy", "noeviction")
        store._redis.config_set("appendonly", "yes")
    assert code == 1
    assert "Redis: maxmemory-policy is allkeys-lru" in said
    assert "Redis: the append-only file is off" in said
