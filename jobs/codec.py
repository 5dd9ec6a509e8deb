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
from jobs.kinds import Kind
from jobs.model import (
    Artifact,
    Callback,
    CallbackEvent,
    Death,
    Decision,
    Failure,
    Job,
    JobId,
    Notice,
    ObjectRef,
    Priority,
    Progress,
    Result,
    Review,
    TenantId,
    input_ref,
)
from jobs.options import JobOptions
from jobs.states import JobState
from jobs.trace_context import TraceContext

#: The newest form of record that this code reads; it writes the oldest that will do.
VERSION = 1

#: Options that forms after the first brought, with the form. A job that asks for one is written in that form, which
#: older workers leave to newer ones; all others stay readable for them. Whoever adds an option names it here.
OPTIONS_SINCE: dict[str, int] = {}

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
    "rotate": False,
    "passes": 1,
    "aligned": False,
    "page": 1,
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
        "kind": None if job.kind is Kind.RESTORE else job.kind,
        "options": options,
        "callback": job.callback and {"url": job.callback.url, "events": [str(e) for e in job.callback.events]},
        "metadata": job.metadata,
        "deadline_s": job.deadline_s,
        "input_bytes": job.input_bytes,
        "input_etag": job.input_etag,
        "input_sha256": job.input_sha256,
        "input_type": job.input_type,
        "replay_of": job.replay_of,
        "request_id": job.request_id,
        "trace": trace_to_json(job.trace),
        "batch": job.batch,
        "item": job.item,
        "sheet": job.sheet or None,
    }
    return dump_json({name: value for name, value in spec.items() if value not in (None, {})})


def form_of(job: Job) -> int:
    """The oldest form of record that can say what the submitter asked for."""
    wanted = job.options.to_mapping()
    younger = (form for name, form in OPTIONS_SINCE.items() if wanted[name] != OPTIONS_V1[name])
    return max(younger, default=1)


def result_to_json(result: Result) -> str:
    return dump_json(dataclasses.asdict(result))


def trace_to_json(trace: TraceContext | None) -> list[str] | None:
    """Its words; a record without it is of the same form, and who does not know it lets it be."""
    return None if trace is None else [trace.traceparent, *([trace.tracestate] if trace.tracestate else [])]


def trace_from_json(words: list[str] | None) -> TraceContext | None:
    if not words:
        return None
    return TraceContext(traceparent=words[0], tracestate=words[1] if len(words) > 1 else "")


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
        input_sha256=words.get("input_sha256"),
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


def accepted(job: Job, *, seq: int, is_suspect: bool) -> Job:
    """The job as its record reads now that it has just been made, without reading it."""
    return dataclasses.replace(job, created_at=seq / _MICROSECONDS, revision=1, is_suspect=is_suspect)


def event_names(callback: Callback | None) -> str:
    """The events as the scripts keep them: ``completed,failed``; empty without a callback."""
    return ",".join(event.removeprefix("job.") for event in callback.events) if callback else ""


def _job(job_id: JobId, record: Mapping[str, str], spec: dict[str, Any]) -> Job:
    return Job(
        id=job_id,
        tenant=TenantId(record["tenant"]),
        input=input_ref(spec["input"]),
        kind=Kind(spec.get("kind", Kind.RESTORE)),
        options=JobOptions.from_mapping(OPTIONS_V1 | spec.get("options", {})),
        priority=Priority(record["lane"]),
        callback=_callback(spec.get("callback")),
        metadata=spec.get("metadata", {}),
        deadline_s=spec.get("deadline_s"),
        input_bytes=spec.get("input_bytes"),
        input_etag=spec.get("input_etag"),
        input_sha256=spec.get("input_sha256"),
        input_type=spec.get("input_type"),
        replay_of=spec.get("replay_of"),
        request_id=spec.get("request_id"),
        trace=trace_from_json(spec.get("trace")),
        batch=spec.get("batch"),
        item=spec.get("item"),
        sheet=spec.get("sheet", False),
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
        is_suspect="suspect" in record,
        deaths=tuple(_death(words) for words in json.loads(record.get("deaths", "[]"))),
        dead_at=_seconds(record, "dead"),
        replayed_as=JobId(record["replayed_as"]) if "replayed_as" in record else None,
        reviews=tuple(_review(words) for words in json.loads(record.get("reviews", "[]"))),
    )


def _callback(words: dict[str, Any] | None) -> Callback | None:
    if words is None:
        return None
    return Callback(url=words["url"], events=tuple(CallbackEvent(e) for e in words["events"]))


def _death(words: dict[str, Any]) -> Death:
    return Death(
        cause=words["cause"],
        at=float(words["at"]),
        attempt=int(words["attempt"]),
        worker=words["worker"],
        is_alone=words["alone"],
        stage=words.get("stage"),
        engine=words.get("engine") or None,
        weights=tuple(words.get("weights", ())),
    )


def _review(words: dict[str, Any]) -> Review:
    return Review(
        decision=Decision(words["decision"]), at=float(words["at"]), note=words.get("note", ""), by=words.get("by", "")
    )


def _progress(text: str | None) -> Progress | None:
    if text is None:
        return None
    percent, _, stage = text.partition(" ")
    return Progress(stage=stage, percent=int(percent))


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if name in record else None
