"""Where a job's results are, or why there are none."""

from __future__ import annotations

import mimetypes
from typing import Any

import structlog

from api.problems import Problem
from api.schemas import ResultPlace
from api.service import Service
from jobs.errors import ObjectDenied
from jobs.model import Job, ObjectRef, UrlRef
from jobs.object_names import is_result_of, plain_name
from jobs.options import OUTPUTS
from jobs.states import JobState

logger = structlog.get_logger(__name__)

_WITHOUT_RESULT = {
    JobState.QUEUED: "result_not_ready",
    JobState.PROCESSING: "result_not_ready",
    JobState.FAILED: "job_failed",
    JobState.CANCELED: "job_canceled",
    JobState.EXPIRED: "result_expired",
}
#: Types that an input may be handed out with.
SHOWN = frozenset({"image/jpeg", "image/png", "image/tiff", "image/webp", "image/gif", "image/avif"})


def result_place(service: Service, job: Job, part: str) -> ResultPlace:
    """A presigned URL of one part of the job's result. Signing is arithmetic: the storage is not asked.

    Raises:
        Problem: the job has no result (yet, any more, at all), or not this part.
    """
    if part == "input":
        return _input_place(service, job)
    if job.state is not JobState.SUCCEEDED or job.result is None:
        raise _no_result(job)
    artifact = job.result.artifact(part)
    if artifact is None:
        there = ", ".join(a.part for a in job.result.artifacts)
        wish = part.partition("/")[0]
        hint = f" To get it, submit with {wish} among the outputs." if wish in OUTPUTS else ""
        raise Problem("part_not_found", f"The job has {there}, not {part}.{hint}")
    if not is_result_of(artifact.ref, job.id, bucket=service.settings.bucket, tenant=job.tenant):
        # Not what a worker writes: whoever did must not get a URL for any object of his choice.
        logger.error("a record names a result that is not its own", job_id=job.id)
        raise Problem("internal")
    return _place(service, artifact.ref, content_type=artifact.content_type, filename=artifact.filename)


def _input_place(service: Service, job: Job) -> ResultPlace:
    """The picture itself, as far as the storage still has it; its owner named it, so its owner may look at it."""
    # Read once more, and only if it is what was submitted: see above.
    job = service.store.get_genuine(job.id, tenant=job.tenant)
    if isinstance(job.input, UrlRef):
        raise Problem("part_not_found", "The input lies elsewhere: at the URL that the job names.")
    if job.state is JobState.EXPIRED:
        raise _no_result(job)
    try:
        service.store.tenants.require_readable(job.tenant, job.input, bucket=service.settings.bucket)
    except ObjectDenied as err:
        raise Problem("part_not_found", "The input lies where you may not read any more.") from err
    # Whatever lies there is shown as a picture or not at all: browsers tell the kinds of pictures apart by themselves.
    kind = mimetypes.guess_type(job.input.key)[0]
    shown = kind if kind in SHOWN else "image/jpeg"
    return _place(service, job.input, content_type=shown, filename=plain_name(job.input) or "photo")


def _place(service: Service, ref: ObjectRef, *, content_type: str, filename: str) -> ResultPlace:
    ttl_s = service.settings.presign_ttl_s
    url = service.blobs.presign_get(ref, expires_s=ttl_s, filename=filename, content_type=content_type)
    return ResultPlace(url=url, content_type=content_type, filename=filename, expires_in_s=ttl_s)


def _no_result(job: Job) -> Problem:
    code = _WITHOUT_RESULT.get(job.state, "internal")
    more: dict[str, Any] = {}
    if job.failure is not None:
        failure = job.failure
        more["error"] = {"code": failure.code, "title": failure.title, "detail": failure.detail}
    headers = {"Retry-After": "1"} if code == "result_not_ready" else {}
    return Problem(code, headers=headers, more=more)
