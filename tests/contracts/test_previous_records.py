"""Upgrade and rollback: what an older version wrote is read and ended today, and it can read what is written today."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import redis

from jobs.batches.model import BatchId
from jobs.model import Job, JobId, Priority
from jobs.options import JobOptions
from jobs.outcomes import ClaimRefusal
from jobs.queue import KEY_PREFIX, TASK
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore
from tests import samples
from tests.contracts import previous

FILES = sorted(previous.FOLDER.glob("form-*.json"))
#: What differs from one run to the next: ids, times, codes, the sender's name.
_NUMBER = re.compile(r"\d+(\.\d+)?\Z")
_CHANGING = re.compile(r"[0-9a-f]{16,}|\d{9,}(\.\d+)?|gen\d+@[^\"]+")


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def frozen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a version left."""
    return dict(json.loads(request.param.read_text()))


@pytest.fixture
def client(redis_url: str) -> Any:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def store(frozen: dict[str, Any], client: redis.Redis, redis_settings: JobsSettings) -> Any:
    """Today's store over what was left."""
    previous.load(client, frozen["keys"])
    store = JobStore.connect(redis_settings)
    yield store
    store.close()


def test_everything_that_was_left_fits_together(store: JobStore) -> None:
    assert list(store.doctor().examine()) == []


def test_callers_are_told_the_same_and_perhaps_more(store: JobStore, frozen: dict[str, Any]) -> None:
    def lost(old: Any, new: Any, path: str) -> list[str]:
        if isinstance(old, dict):
            return [one for key in old for one in lost(old[key], new.get(key, "not there"), f"{path}.{key}")]
        return [] if old == new else [f"{path}: {old!r} became {new!r}"]

    views = previous.views(store, frozen["names"])
    assert set(views) == set(frozen["views"])
    assert [one for name, old in frozen["views"].items() for one in lost(old, views[name], name)] == []


def test_what_was_begun_is_ended_and_what_waits_is_done(store: JobStore, frozen: dict[str, Any]) -> None:
    def named(name: str) -> JobId:
        return JobId(frozen["names"][name])

    # By the older worker, which still runs.
    assert store.beat(named("processing"), epoch=1, lease_s=9.0) == "ok"
    assert store.commit(named("processing"), epoch=1, result=samples.result()).state is JobState.SUCCEEDED
    # By a newer one.
    for name in ("queued", "sent", "rich"):
        job = store.claim(named(name), worker="new:1:0", lease_s=9.0)
        assert isinstance(job, Job)
        assert store.commit(job.id, epoch=job.epoch, result=samples.result()).state is JobState.SUCCEEDED
    job = store.claim_suspect(worker="new:2:0", lease_s=9.0)
    assert isinstance(job, Job)
    assert job.id == named("suspect")
    assert [death.cause for death in job.deaths] == ["SIGSEGV"]
    assert store.commit(job.id, epoch=job.epoch, result=samples.result()).state is JobState.SUCCEEDED
    assert {delivery.event for delivery in store.due_callbacks(limit=99, lease_s=9.0)} >= {"job.completed"}
    assert list(store.doctor().examine()) == []


def test_keys_tenants_uploads_workers_and_batches_are_known(store: JobStore, frozen: dict[str, Any]) -> None:
    names = frozen["names"]
    key = store.keys.check(names["key"])
    assert key is not None
    assert key.tenant == previous.ACME
    assert store.tenant(previous.ACME).weight == 2.0
    assert store.get_upload(names["upload"], tenant=previous.ACME).size == 9
    assert store.batches.get_genuine(BatchId(names["batch"])).spec.source_uri == "s3://scans/1969/"


def test_the_message_of_an_older_feeder_names_our_task(frozen: dict[str, Any]) -> None:
    (raw,) = frozen["keys"][f"{KEY_PREFIX}restore.interactive"]["value"]
    message = json.loads(raw)
    assert message["headers"]["task"] == TASK
    args, _, _ = json.loads(base64.b64decode(message["body"]))
    assert args == [frozen["names"]["sent"]]


def test_what_is_written_today_has_all_that_the_older_version_reads(
    frozen: dict[str, Any], client: redis.Redis, redis_settings: JobsSettings
) -> None:
    """Its fields in its form, and no value that it would not know; what is new beside them it passes over."""
    names = previous.fill(redis_settings)
    now = previous.dump(client)
    for name in previous.JOBS:
        old = frozen["keys"][f"{{photomend}}:job:{frozen['names'][name]}"]["value"]
        new = now[f"{{photomend}}:job:{names[name]}"]["value"]
        assert set(old) <= set(new), name
        assert new["v"] == str(frozen["form"]), f"{name} asks for nothing new, so the older version must read it"
        for field in set(old) - {"spec", "result", "failure", "deaths", "code"}:
            assert _alike(old[field], new[field]), (name, field)
        for field in {"result", "failure", "spec"} & set(old):
            assert set(json.loads(old[field])) <= set(json.loads(new[field])), (name, field)
        # It refuses options that it does not know, so none may be there unasked.
        known = set(json.loads(old["spec"]).get("options", {}))
        assert set(json.loads(new["spec"]).get("options", {})) == known, name


def _alike(old: str, new: str) -> bool:
    """The same, but for what differs from one run to the next; or both numbers."""
    return _CHANGING.sub("*", old) == _CHANGING.sub("*", new) or all(_NUMBER.match(text) for text in (old, new))


def test_a_file_says_every_option_of_its_form(frozen: dict[str, Any]) -> None:
    """Else this suite would not notice that one of them is read in another way."""
    from jobs.codec import OPTIONS_SINCE, OPTIONS_V1

    younger = {name for name, form in OPTIONS_SINCE.items() if form > frozen["form"]}
    rich = json.loads(frozen["keys"][f"{{photomend}}:job:{frozen['names']['rich']}"]["value"]["spec"])
    # These two exclude others.
    assert set(rich["options"]) | {"aligned", "seed"} == set(OPTIONS_V1) - younger
    assert JobOptions.from_mapping(OPTIONS_V1 | rich["options"]).suffix == "_x"


def test_a_record_that_asks_for_an_unknown_option_is_left_until_somebody_knows_it(
    redis_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is signed, so a newer process wrote it, and did not say so in its form."""
    store = JobStore.connect(redis_settings)
    with monkeypatch.context() as newer:
        spec = json.dumps({"input": "s3://photos/a.jpg", "options": {"sparkle": True}})
        newer.setattr("jobs.admission.spec_to_json", lambda _: spec)
        job_id = store.submit(samples.job()).job.id
    store.take(credits=1, priority=Priority.INTERACTIVE)
    assert store.claim(job_id, worker="old:1:0", lease_s=1e-6) is ClaimRefusal.UNREADABLE
    with monkeypatch.context() as newer:
        newer.setattr("jobs.store.job_from_record", lambda _, record: json.loads(record["spec"])["options"])
        store.release_worker("old:1:0", charge=True)
        assert store.claim(job_id, worker="new:1:0", lease_s=9.0) == {"sparkle": True}
    store.close()
