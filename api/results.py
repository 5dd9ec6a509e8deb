"""Where a job's results are, or why there are none."""

from __future__ import annotations

from typing import Any

from api.problems import Problem
from api.service import Service
from jobs.model import Job
from jobs.options import OUTPUTS
from jobs.states import JobState

_WITHOUT_RESULT = {
    JobState.QUEUED: "result_not_ready",
    JobState.PROCESSING: "result_not_ready",
    JobState.FAILED: "job_failed",
    JobState.CANCELED: "job_canceled",
    JobState.EXPIRED: "result_expired",
}


def result_url(service: Service, job: Job, part: str) -> str:
    """A presigned URL of one part of the job's result. Signing is arithmetic: the storage is not asked.

    Raises:
        Problem: the job has no result (yet, any more, at all), or not this part.
    """
    if job.state is not JobState.SUCCEEDED or job.result is None:
        raise _no_result(job)
    artifact = job.result.artifact(part)
    if artifact is None:
        there = ", ".join(a.part for a in job.result.artifacts)
        wish = part.partition("/")[0]
        hint = f" To get it, submit with {wish} among the outputs." if wish in OUTPUTS else ""
        raise Problem("part_not_found", f"The job has {there}, not {part}.{hint}")
    return service.blobs.presign_get(
        artifact.ref,
        expires_s=service.settings.presign_ttl_s,
        filename=artifact.filename,
        content_type=artifact.content_type,
    )


def _no_result(job: Job) -> Problem:
    code = _WITHOUT_RESULT.get(job.state, "internal")
    more: dict[str, Any] = {}
    if job.failure is not None:
        failure = job.failure
        more["error"] = {"code": failure.code, "title": failure.title, "detail": failure.detail}
    headers = {"Retry-After": "1"} if code == "result_not_ready" else {}
    return Problem(code, headers=headers, more=more)
