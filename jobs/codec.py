"""Job ⇄ Redis hash, versioned.

What the submitter asked for is one JSON field that is never rewritten; what moves has
a field of its own, written by the Lua scripts (``jobs/lua/_common.lua`` lists them). Unknown fields are left alone,
so that old and new processes may share a store during a rolling deploy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jobs.errors import InvalidRequest, JobsError
from jobs.model import (
    Artifact,
    Callback,
    CallbackEvent,
    Failure,
    Job,
    JobId,
    Notice,
    ObjectRef,
    Priority,
    Progress,
    Result,
    TenantId,
)
from jobs.options import JobOptions
from jobs.states import JobState

#: The form of record that this code writes, and the newest that it reads.
VERSION = 1

#: Options that a version-1 record leaves out because they have these values. Frozen: a default that changes later must
#: not change jobs already accepted. A test compares it with ``JobOptions``; where they differ the option is stored.
OPTIONS_V1: dict[str, Any] = {
    "model": None,
    "scale": 2.0,
    "background": "auto",
    "denoise": 0.5,
    "tile_px": 0,
    "strength": 1.0,
    "faces": "all",
    "min_face_px": 0,
    "max_face_px": None,
    "max_faces": None,
    "min_score": 0.5,
    "passes": 1,
    "aligned": False,
    "gray": "keep",
    "format": "auto",
    "quality": 95,
    "bit_depth": "auto",
    "suffix": "",
    "outputs": ["image", "provenance"],
    "metadata_policy": "keep",
    "precision": "auto",
    "seed": None,
}

_MISSING = object()
_MICROSECONDS = 1_000_000


class UnreadableRecord(JobsError):
    """Raised when a record is of a newer form than this code reads, or damaged."""

    code = "unreadable_record"


def dump_json(value: Any) -> str:
    """Compact JSON, the same text for the same value: scripts compare it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def spec_to_json(job: Job) -> str:
    """What the submitter asked for; defaults are left out."""
    options = {k: v for k, v in job.options.to_mapping().items() if OPTIONS_V1.get(k, _MISSING) != v}
    spec: dict[str, Any] = {
        "input": job.input.uri,
        "options": options,
        "callback": job.callback and {"url": job.callback.url, "events": [str(e) for e in job.callback.events]},
        "metadata": job.metadata,
        "deadline_s": job.deadline_s,
        "input_bytes": job.input_bytes,
        "replay_of": job.replay_of,
    }
    return dump_json({name: value for name, value in spec.items() if value not in (None, {})})


def result_to_json(result: Result) -> str:
    return dump_json(dataclasses.asdict(result))


def failure_to_json(failure: Failure) -> str:
    return dump_json(dataclasses.asdict(failure))


def result_from_json(text: str) -> Result:
    words = json.loads(text)
    artifacts = [Artifact(**(a | {"ref": ObjectRef(**a["ref"])})) for a in words["artifacts"]]
    return Result(
        artifacts=tuple(artifacts),
        width=words["width"],
        height=words["height"],
        faces=tuple(words["faces"]),
        warnings=tuple(Notice(**notice) for notice in words["warnings"]),
        model=words["model"],
        metrics=words["metrics"],
    )


def job_from_record(job_id: JobId, record: Mapping[str, str]) -> Job:
    """The job that a record holds.

    Raises:
        UnreadableRecord: a newer form, or damaged.
    """
    try:
        if int(record["v"]) > VERSION:
            raise UnreadableRecord(f"{job_id} has a record of form {record['v']}, known is {VERSION}")
        return _job(job_id, record, json.loads(record["spec"]))
    except (KeyError, ValueError, TypeError, InvalidRequest) as err:
        raise UnreadableRecord(f"{job_id}: {err!r}") from err


def event_names(callback: Callback | None) -> str:
    """The events as the scripts keep them: ``completed,failed``; empty without a callback."""
    return ",".join(event.removeprefix("job.") for event in callback.events) if callback else ""


def _job(job_id: JobId, record: Mapping[str, str], spec: dict[str, Any]) -> Job:
    return Job(
        id=job_id,
        tenant=TenantId(record["tenant"]),
        input=ObjectRef.parse(spec["input"]),
        options=JobOptions.from_mapping(OPTIONS_V1 | spec.get("options", {})),
        priority=Priority(record["lane"]),
        callback=_callback(spec.get("callback")),
        metadata=spec.get("metadata", {}),
        deadline_s=spec.get("deadline_s"),
        input_bytes=spec.get("input_bytes"),
        replay_of=spec.get("replay_of"),
        state=JobState(record["state"]),
        created_at=int(record["seq"]) / _MICROSECONDS,
        started_at=_seconds(record, "started_at"),
        completed_at=_seconds(record, "completed_at"),
        attempt=int(record.get("attempt", 0)),
        epoch=int(record.get("epoch", 0)),
        worker=record.get("worker"),
        lease_until=_seconds(record, "lease_until"),
        cancel_requested="cancel" in record,
        progress=_progress(record.get("progress")),
        revision=int(record["rev"]),
        result=result_from_json(record["result"]) if "result" in record else None,
        failure=Failure(**json.loads(record["failure"])) if "failure" in record else None,
    )


def _callback(words: dict[str, Any] | None) -> Callback | None:
    if words is None:
        return None
    return Callback(url=words["url"], events=tuple(CallbackEvent(e) for e in words["events"]))


def _progress(text: str | None) -> Progress | None:
    if text is None:
        return None
    percent, _, stage = text.partition(" ")
    return Progress(stage=stage, percent=int(percent))


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if name in record else None
