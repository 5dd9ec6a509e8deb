"""Job ⇄ Redis hash: nothing is lost, defaults cost nothing, newer and damaged records are refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.codec import (
    OPTIONS_SINCE,
    OPTIONS_V1,
    VERSION,
    UnreadableRecord,
    dump_json,
    event_names,
    failure_to_json,
    form_of,
    job_from_record,
    result_from_json,
    result_to_json,
    spec_to_json,
)
from jobs.kinds import Kind
from jobs.model import (
    Artifact,
    Callback,
    CallbackEvent,
    Failure,
    Job,
    Notice,
    ObjectRef,
    Priority,
    Progress,
    Result,
    TenantId,
    new_job_id,
)
from jobs.options import JobOptions
from jobs.states import JobState
from tests import samples

TEXT = st.text(min_size=1, max_size=20)
JSON = st.dictionaries(TEXT, st.one_of(st.integers(-(10**6), 10**6), TEXT, st.booleans(), st.none()), max_size=3)
SECONDS = st.integers(1, 4 * 10**15).map(lambda us: us / 1e6)
KEYS = st.text(st.characters(exclude_categories=["C"], exclude_characters="\\/."), min_size=1, max_size=30)
REFS = st.builds(ObjectRef, bucket=st.sampled_from(["photos", "a-b.c"]), key=KEYS)
ARTIFACTS = st.builds(
    Artifact,
    part=st.sampled_from(["image", "faces/0"]),
    ref=REFS,
    content_type=TEXT,
    size=st.integers(0, 10**9),
    sha256=TEXT,
    filename=TEXT,
)
RESULTS = st.builds(
    Result,
    artifacts=st.lists(ARTIFACTS, max_size=2).map(tuple),
    width=st.integers(1, 10**5),
    height=st.integers(1, 10**5),
    faces=st.lists(JSON, max_size=2).map(tuple),
    warnings=st.lists(st.builds(Notice, code=TEXT, detail=TEXT), max_size=2).map(tuple),
    model=JSON,
    metrics=st.dictionaries(TEXT, st.floats(0, 1e6), max_size=2),
)
OPTIONS = st.builds(
    JobOptions,
    scale=st.floats(1, 4),
    model=st.sampled_from([None, "gfpgan-1.3"]),
    strength=st.floats(0, 1),
    faces=st.sampled_from(["all", "largest", ("g5k2p",), ("g5k2p", (1.0, 2.0, 3.5, 4.0))]),
    outputs=st.sampled_from([("image",), ("mask", "image"), ("image", "provenance")]),
    seed=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    aligned=st.booleans(),
)
JOBS = st.builds(
    Job,
    id=st.builds(new_job_id),
    tenant=TEXT.map(TenantId),
    input=REFS,
    kind=st.sampled_from(Kind),
    options=OPTIONS,
    priority=st.sampled_from(Priority),
    callback=st.one_of(
        st.none(),
        st.builds(
            Callback,
            url=TEXT,
            events=st.lists(st.sampled_from(CallbackEvent), min_size=1, max_size=4, unique=True).map(tuple),
        ),
    ),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    deadline_s=st.one_of(st.none(), st.floats(0, 1e6)),
    input_bytes=st.one_of(st.none(), st.integers(0, 10**10)),
    input_etag=st.one_of(st.none(), TEXT),
    input_sha256=st.one_of(st.none(), st.just("0" * 64)),
    replay_of=st.one_of(st.none(), st.builds(new_job_id)),
    state=st.sampled_from(JobState),
    created_at=SECONDS,
    started_at=st.one_of(st.none(), SECONDS),
    completed_at=st.one_of(st.none(), SECONDS),
    attempt=st.integers(0, 9),
    epoch=st.integers(0, 99),
    worker=st.one_of(st.none(), TEXT),
    lease_until=st.one_of(st.none(), SECONDS),
    cancel_requested=st.booleans(),
    progress=st.one_of(
        st.none(), st.builds(Progress, stage=st.sampled_from(["fetch", "restore"]), percent=st.integers(0, 100))
    ),
    revision=st.integers(0, 99),
    result=st.one_of(st.none(), RESULTS),
    failure=st.one_of(st.none(), st.builds(Failure, code=TEXT, title=TEXT, detail=TEXT)),
)


def record_of(job: Job) -> dict[str, str]:
    """The hash that the scripts keep for this job."""
    seconds = {"started_at": job.started_at, "completed_at": job.completed_at, "lease_until": job.lease_until}
    record: dict[str, str | None] = {
        "v": str(VERSION),
        "state": job.state,
        "tenant": job.tenant,
        "lane": job.priority,
        "seq": f"{job.created_at * 1e6:.0f}",
        "rev": str(job.revision),
        "spec": spec_to_json(job),
        "events": event_names(job.callback) or None,
        "attempt": str(job.attempt) if job.attempt else None,
        "epoch": str(job.epoch) if job.epoch else None,
        "worker": job.worker,
        "cancel": "1" if job.cancel_requested else None,
        "progress": f"{job.progress.percent} {job.progress.stage}" if job.progress else None,
        "result": result_to_json(job.result) if job.result else None,
        "failure": failure_to_json(job.failure) if job.failure else None,
    }
    record |= {name: f"{value:.6f}" for name, value in seconds.items() if value is not None}
    return {name: value for name, value in record.items() if value is not None}


@given(JOBS)
def test_a_job_survives_its_record(job: Job) -> None:
    record = record_of(job)
    assert all(isinstance(value, str) for value in record.values())
    assert job_from_record(job.id, record) == job


@given(RESULTS)
def test_the_same_result_is_the_same_text(result: Result) -> None:
    """The store compares the text to tell a repeated commit from another one."""
    assert result_to_json(result_from_json(result_to_json(result))) == result_to_json(result)


def test_defaults_are_not_stored_and_are_those_of_the_records_time() -> None:
    assert json.loads(spec_to_json(samples.job())) == {"input": "s3://photos/a.jpg"}
    words = JobOptions().to_mapping()
    assert words == OPTIONS_V1, "a default changed: raise codec.VERSION and keep this table for records of version 1"
    assert all(1 < form <= VERSION for form in OPTIONS_SINCE.values())
    assert set(OPTIONS_SINCE) <= set(words)
    assert {type(v) for v in words.values()} <= {type(None), str, float, int, bool, list}


def test_a_job_is_written_in_the_oldest_form_that_can_say_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.codec.OPTIONS_SINCE", {"suffix": 2, "seed": 3})
    assert form_of(samples.job()) == 1
    assert form_of(samples.job(options=JobOptions(scale=3.0, strength=0.5))) == 1
    assert form_of(samples.job(options=JobOptions(suffix="_x"))) == 2
    assert form_of(samples.job(options=JobOptions(suffix="_x", seed=0))) == 3


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(JobOptions)])
def test_every_option_that_is_not_a_default_is_stored(field: str) -> None:
    others: dict[str, Any] = {
        "model": "preview", "scale": 3.0, "background": "none", "denoise": 0.25, "tile_px": 512, "strength": 0.5,
        "faces": "center", "min_face_px": 9, "max_face_px": 99, "max_faces": 3, "min_score": 0.75, "rotate": True,
        "passes": 2,
        "aligned": True, "gray": "allow-color", "format": "tiff", "quality": 80, "bit_depth": "16", "suffix": "_x",
        "page": 2,
        "outputs": ("mask",), "metadata_policy": "strip", "precision": "exact", "seed": 0,
    }  # fmt: skip
    job = samples.job(options=JobOptions(**{field: others[field]}))
    assert list(json.loads(spec_to_json(job))["options"]) == [field]
    assert job_from_record(job.id, record_of(job)).options == job.options


def test_a_record_that_names_no_kind_is_a_restoration() -> None:
    job = samples.job(created_at=1.0)
    assert "kind" not in json.loads(spec_to_json(job))
    assert job_from_record(job.id, record_of(job)).kind is Kind.RESTORE


def test_fields_of_a_newer_process_are_passed_over() -> None:
    job = samples.job(created_at=1.0)
    assert job_from_record(job.id, record_of(job) | {"colour": "blue"}) == job


@pytest.mark.parametrize(
    "damage",
    [
        {"v": "2"},
        {"v": "x"},
        {"spec": "{"},
        {"spec": "[]"},
        {"state": "lost"},
        {"seq": ""},
        {"result": "{}"},
        {"spec": '{"input":"/etc/passwd"}'},
        {"spec": '{"input":"s3://photos/a","options":{"scale":9}}'},
    ],
)
def test_a_newer_or_damaged_record_is_refused(damage: dict[str, str]) -> None:
    job = samples.job(created_at=1.0)
    with pytest.raises(UnreadableRecord):
        job_from_record(job.id, record_of(job) | damage)


def test_json_is_compact_and_the_same_for_the_same_value() -> None:
    assert dump_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    with pytest.raises(ValueError, match="Out of range"):
        dump_json({"a": float("nan")})
