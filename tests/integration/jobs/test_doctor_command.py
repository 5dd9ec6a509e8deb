"""``photomend doctor`` as an operator uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from jobs.blobs import BlobStore
from jobs.checks import Verdict
from jobs.errors import ObjectMissing
from jobs.model import Job, ObjectRef
from jobs.object_names import result_ref
from jobs.s3_probe import PREFIX, probe
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore
from photomend.cli import app
from photomend.stack.ports import free_ports
from tests import samples


@pytest.fixture
def run(jobs_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    for name in ("redis_url", "s3_endpoint_url", "s3_region", "bucket"):
        monkeypatch.setenv(f"PHOTOMEND_{name.upper()}", getattr(jobs_settings, name))
    for name in ("s3_access_key_id", "s3_secret_access_key", "callback_secret"):
        monkeypatch.setenv(f"PHOTOMEND_{name.upper()}", getattr(jobs_settings, name).get_secret_value())

    def run_doctor(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", "--quick", *words])
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
    code, said = run()
    assert code == 0, said
    assert "ok       jobs.records: 0 violations\nok       jobs.duties: 0 overdue\n" in said
    assert "warning  fleet: no worker offers slots" in said
    store._redis.delete("{photomend}:backlog:interactive:local", "{photomend}:ring:interactive")
    lost = result_ref(jobs_settings.bucket, samples.job(epoch=1), "image", "png")
    BlobStore.connect(jobs_settings).put(lost, b"x", content_type="image/png")
    monkeypatch.setattr("jobs.orphans.orphans.__kwdefaults__", {"min_age_s": -60.0})
    for _ in range(2):
        code, said = run("--objects")
        assert code == 1
        assert f"failed   jobs.records: {job.id}: waits nowhere\n" in said
        assert f"failed   storage.orphans: {lost.uri}: no job shows it\n" in said
    code, said = run("--objects", "--repair")
    assert code == 0
    assert f"ok       jobs.records: {job.id}: waits nowhere; mended" in said
    assert "no job shows it; mended" in said
    code, said = run("--objects")
    assert code == 0, "advice is no fault"
    assert "does not let pages of http://127.0.0.1:8080 upload to it" in said
    assert "0 orphaned objects" in said


def test_servers_out_of_reach_are_lines_with_what_to_do_and_exit_code_1(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.blobs.CALL_S", 0.2)
    for name, scheme in (("REDIS_URL", "redis"), ("S3_ENDPOINT_URL", "http")):
        monkeypatch.setenv(f"PHOTOMEND_{name}", f"{scheme}://127.0.0.1:{free_ports(1)[0]}")
    code, said = run("--json")
    assert code == 1
    told = json.loads(said[said.index("{") :])
    assert told["ok"] is False
    lines = {line["name"]: line for line in told["checks"]}
    assert lines["redis"]["verdict"] == lines["storage.write"]["verdict"] == "failed"
    assert "PHOTOMEND_REDIS_URL" in lines["redis"]["advice"]
    assert "PHOTOMEND_S3_ENDPOINT_URL" in lines["storage.write"]["advice"]
    assert lines["jobs"]["verdict"] == "skipped"
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
    assert "failed   redis.durability: maxmemory-policy is allkeys-lru" in said
    assert "→ set noeviction" in said
    assert "failed   redis.durability: the append-only file is off" in said


def test_what_the_storage_does_is_tried_and_nothing_is_left_of_it(jobs_settings: JobsSettings) -> None:
    found = {check.name: check for check in probe(jobs_settings)}
    assert {name for name, check in found.items() if check.verdict is Verdict.FAILED} == set()
    for name in ("write", "read", "list", "copy", "content_md5", "presigned_get", "presigned_put", "delete"):
        assert found[f"storage.{name}"].verdict is Verdict.OK, found[f"storage.{name}"]
    blobs = BlobStore.connect(jobs_settings)
    left = list(blobs.list(jobs_settings.bucket, prefix=PREFIX))
    assert [one for one in left if _is_there(blobs, one.ref)] == []


def _is_there(blobs: BlobStore, ref: ObjectRef) -> bool:
    """The listing of this server may lag."""
    try:
        blobs.head(ref)
    except ObjectMissing:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"bucket": "nobody-made-this-one"}, "storage.write", "nobody-made-this-one"),
        ({"s3_secret_access_key": SecretStr("not the one")}, "storage.write", "refused"),
        ({"s3_public_endpoint_url": "http://127.0.0.1:9"}, "storage.presigned_get", "does not answer from here"),
    ],
)
def test_storage_that_is_not_set_up_is_named(
    jobs_settings: JobsSettings, change: dict[str, Any], name: str, said: str
) -> None:
    found = {check.name: check for check in probe(jobs_settings.model_copy(update=change))}
    assert found[name].verdict is not Verdict.OK
    assert said in found[name].said
    assert found[name].advice
