"""What records look like over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.service import Service
from jobs.backlog import Slots
from jobs.model import Job
from jobs.outbox import CallbackRecord
from jobs.retention import Upload
from jobs.view import public_view, timestamp


def job_view(job: Job) -> dict[str, Any]:
    """The job as its owner sees it, the same words as in callbacks."""
    return public_view(job)


def etag(job: Job) -> str:
    """Strong: the view is made of the record alone, and every change of it counts the revision up."""
    return f'"{job.revision}"'


def upload_view(service: Service, upload: Upload) -> dict[str, Any]:
    """Where and how to send the upload's bytes. The URL is presigned, so it stays out of every log."""
    ttl_s = service.settings.presign_ttl_s
    url = service.blobs.presign_put(upload.ref, content_type=upload.content_type, size=upload.size, expires_s=ttl_s)
    return {
        "upload_id": upload.id,
        "method": "PUT",
        "url": url,
        "headers": {"Content-Type": upload.content_type, "Content-Length": str(upload.size)},
        "expires_at": timestamp(upload.expires_at),
    }


def callbacks_view(records: Sequence[CallbackRecord]) -> dict[str, Any]:
    """What became of a job's callbacks."""
    return {
        "callbacks": [
            {
                "id": record.id,
                "event": str(record.event),
                "url": record.url,
                "status": str(record.state),
                "attempts": record.attempts,
                "occurred_at": timestamp(record.happened_at),
                "next_attempt_at": timestamp(record.next_attempt_at),
                "delivered_at": timestamp(record.delivered_at),
                "last_error": record.error,
            }
            for record in records
        ]
    }


def fleet(slots: Sequence[Slots]) -> dict[str, Any]:
    """Each model once, with how many workers have it; the same name with another hash is another model."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    for worker in slots:
        for model in worker.models:
            known = counted.setdefault((model["name"], model.get("sha256", "")), dict(model) | {"workers": 0})
            known["workers"] += 1
    ordered = [counted[key] for key in sorted(counted)]
    return {"models": ordered, "workers": len(slots)}
