"""What a stranger may know of a job: the one description in ``GET /v1/jobs/{id}`` and in callbacks."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from jobs.kinds import options_shown
from jobs.model import Artifact, Job, Review
from jobs.states import JobState


def public_view(job: Job, *, base_url: str = "") -> dict[str, Any]:
    """The job as JSON words. URLs are relative unless ``base_url`` (without a slash at its end) is given."""
    result = job.result if job.state is JobState.SUCCEEDED else None
    path = f"{base_url}/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "kind": str(job.kind),
        "status": str(job.state),
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "completed_at": timestamp(job.completed_at),
        "priority": str(job.priority),
        "input": job.input.public_uri,
        "options": options_shown(job.kind, job.options),
        "output": result
        and {
            "width": result.width,
            "height": result.height,
            "parts": [_part(one, path) for one in result.artifacts if not one.part.startswith("sheet/")],
        },
        "faces": list(result.faces) if result else [],
        "warnings": [dataclasses.asdict(notice) for notice in result.warnings] if result else [],
        "error": job.failure and dataclasses.asdict(job.failure),
        "progress": job.progress and dataclasses.asdict(job.progress),
        "cancel_requested": job.cancel_requested,
        "attempt": job.attempt,
        "metrics": _metrics(job),
        "model": dict(result.model) if result and result.model else None,
        "urls": {
            "self": path,
            "cancel": f"{path}/cancel",
            "result": f"{path}/result" if result else None,
            "events": f"{path}/events",
        },
        "metadata": dict(job.metadata),
        "batch": job.batch,
        "review": _review(job.reviews[-1]) if job.reviews else None,
        "reviews": [_review(review) for review in job.reviews],
        "replay_of": job.replay_of,
    }


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _review(review: Review) -> dict[str, Any]:
    return {
        "decision": str(review.decision),
        "at": timestamp(review.at),
        "note": review.note,
        "by": review.by,
    }


def _part(artifact: Artifact, path: str) -> dict[str, Any]:
    return {
        "part": artifact.part,
        "content_type": artifact.content_type,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "filename": artifact.filename,
        "url": f"{path}/result?part={artifact.part}",
    }


def _metrics(job: Job) -> dict[str, float]:
    waited = {"queue_s": round(job.started_at - job.created_at, 3)} if job.started_at is not None else {}
    return waited | (job.result.metrics if job.result else {})
