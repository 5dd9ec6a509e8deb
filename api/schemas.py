"""The wire bodies that are said back, and queries; what a caller may send is in ``requests.py``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.examples import EXAMPLE_JOB_ID, EXAMPLE_UPLOAD_ID
from api.moments import Moment
from api.requests import Options


class UploadView(BaseModel):
    """A place to PUT one file to."""

    upload_id: str
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Presigned; send the file here with exactly these headers")
    headers: dict[str, str]
    expires_at: str = Field(
        description="After this an upload that no job uses is removed; the URL works for a quarter of an hour"
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "upload_id": EXAMPLE_UPLOAD_ID,
                    "method": "PUT",
                    "url": "https://storage.example.com/photomend/uploads/…?X-Amz-Signature=…",
                    "headers": {"Content-Type": "image/jpeg", "Content-Length": "482113"},
                    "expires_at": "2026-01-31T12:15:00Z",
                }
            ]
        }
    )


class PartView(BaseModel):
    """One file of a result."""

    part: str
    content_type: str
    size: int
    sha256: str
    filename: str
    url: str = Field(description="Redirects to where the file is")


class OutputView(BaseModel):
    """What a succeeded job made."""

    width: int
    height: int
    parts: list[PartView]


class NoticeView(BaseModel):
    """Something to know though the job succeeded."""

    code: str
    detail: str


class FailureView(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable, such as image_truncated or input_not_found")
    title: str
    detail: str


class ProgressView(BaseModel):
    """How far a job is."""

    stage: str
    percent: int = Field(ge=0, le=100)


class UrlsView(BaseModel):
    """Where to go from here."""

    self: str
    cancel: str
    result: str | None
    events: str


class ReviewView(BaseModel):
    """Why a person should look at a face."""

    code: Literal["identity", "non_frontal", "tiny", "colour"]
    reason: str


class FaceView(BaseModel):
    """One candidate that the detector found, and what became of it."""

    id: str = Field(description="Names the face in the option faces; the same in every job on this picture")
    index: int = Field(description="From left to right, in this job; names the crops, faces/0")
    box: list[float] = Field(description="x0, y0, x1, y1 in px of the input as seen", min_length=4, max_length=4)
    landmarks: list[list[float]] = Field(description="Eyes, nose, corners of the mouth: x, y")
    score: float = Field(description="How sure the detector was, 0 to 1")
    size_px: float = Field(description="Longer side of the box")
    status: Literal["restored", "found", "skipped", "rejected", "failed"] = Field(
        description="found: would be restored (detect); rejected: no face; failed: original pixels kept"
    )
    reason: str | None = Field(description="Why it was not restored")
    yaw_deg: float | None = Field(description="About how far it is turned, positive to the picture's right edge")
    identity: float | None = Field(description="Likeness to the original, -1 to 1; null = not compared")
    review: list[ReviewView] = Field(description="Why a person should look at it")
    seconds: float | None = Field(description="Of the device's time that restoring took")


class DecisionView(BaseModel):
    """What a person decided about a result."""

    decision: Literal["accepted", "rejected"]
    at: str
    note: str
    by: str = Field(description="Who it was, as the caller said")


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    kind: Literal["restore", "detect"]
    status: Literal["queued", "processing", "succeeded", "failed", "canceled", "expired"]
    created_at: str = Field(description="RFC 3339, UTC")
    started_at: str | None = Field(description="Of the latest attempt")
    completed_at: str | None
    priority: Literal["interactive", "batch"]
    input: str
    options: Options
    output: OutputView | None
    faces: list[FaceView] = Field(description="Every candidate, from left to right")
    warnings: list[NoticeView]
    error: FailureView | None
    progress: ProgressView | None
    cancel_requested: bool
    attempt: int
    metrics: dict[str, float] = Field(
        description="Seconds by stage, queue_s, gpu_s (the device's share of them), megapixels"
    )
    model: dict[str, Any] | None = Field(description="name, sha256, engine, precision, tile_px")
    urls: UrlsView
    metadata: dict[str, str]
    batch: str | None = Field(default=None, description="Of which batch it is an item")
    review: DecisionView | None = Field(description="The latest decision about the result")
    reviews: list[DecisionView] = Field(description="All of them, the latest last")
    replay_of: str | None


class EventView(BaseModel):
    """What a progress event's data holds."""

    id: str
    status: Literal["queued", "processing"]
    progress: ProgressView | None
    cancel_requested: bool


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="For the next page; null on the last")
    unreadable: list[str] = Field(
        default=[],
        description="Ids of the page's jobs that only a newer version of the service can read, while it is being"
        " upgraded; not there where there are none",
    )


class ListQuery(BaseModel):
    """Which page of jobs."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, pattern=r"^[0-9]{1,16}$", description="next_cursor of the page before")
    limit: int = Field(default=50, ge=1, le=200)
    status: Literal["queued", "processing", "succeeded", "failed", "canceled", "expired"] | None = None
    created_after: Moment | None = Field(
        default=None, description="Submitted then or later; RFC 3339 with a zone", examples=["2026-01-31T00:00:00Z"]
    )
    created_before: Moment | None = Field(
        default=None, description="Submitted before then, so that periods follow on each other without a job twice"
    )
    batch: str | None = Field(
        default=None,
        pattern="^batch_[0-9a-f]{32}$",
        description="Only items of this batch that are in flight; the others have rows in its report. Such a page may"
        " be short and have a next one",
    )
    review: Literal["accepted", "rejected", "pending"] | None = Field(
        default=None,
        description="By the latest decision; pending: succeeded and not decided. Such a page may be short and have a "
        "next one",
    )


class ResultPlace(BaseModel):
    """Where a result is."""

    url: str = Field(description="Presigned; don't send your key there")
    content_type: str
    filename: str
    expires_in_s: int

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://storage.example.com/photomend/results/…?X-Amz-Signature=…",
                    "content_type": "image/tiff",
                    "filename": "wedding.tif",
                    "expires_in_s": 900,
                }
            ]
        }
    )


class ResultQuery(BaseModel):
    """Which part of the result."""

    model_config = ConfigDict(extra="forbid")

    part: str = Field(
        default="image",
        pattern=r"^(image|mask|comparison|provenance|faces/[0-9]{1,4}(-before)?|input)$",
        description="image, mask, comparison, provenance, faces/N, faces/N-before, or input: the picture as submitted",
    )


class ModelView(BaseModel):
    """A model that workers have at hand."""

    model_config = ConfigDict(extra="allow")

    name: str
    sha256: str | None = None
    licence: str | None = None
    kind: str | None = None
    workers: int = Field(description="How many workers have it")


class ModelsView(BaseModel):
    """What the fleet can do right now."""

    models: list[ModelView]
    workers: int = Field(description="How many workers have reported lately")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "models": [
                        {
                            "name": "preview",
                            "sha256": "9f2c…",
                            "licence": "Apache-2.0",
                            "kind": "restorer",
                            "workers": 1,
                        }
                    ],
                    "workers": 1,
                }
            ]
        }
    )


class CallbackView(BaseModel):
    """One event of a job, and how the telling of it went."""

    id: str = Field(description="The webhook-id that the receiver sees, the same over all attempts and replays")
    event: Literal["job.started", "job.completed", "job.failed", "job.canceled"]
    url: str
    status: Literal["waiting", "delivered", "undelivered"] = Field(description="undelivered: given up, until a replay")
    attempts: int
    occurred_at: str
    next_attempt_at: str | None = Field(
        default=None, description="waiting only; what is on its way just now comes again then"
    )
    delivered_at: str | None = None
    last_error: str | None = None


class CallbacksView(BaseModel):
    """A job's callbacks, in the order of its life."""

    callbacks: list[CallbackView]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "callbacks": [
                        {
                            "id": EXAMPLE_JOB_ID.replace("job_", "msg_") + "_completed",
                            "event": "job.completed",
                            "url": "https://example.com/hooks/photomend",
                            "status": "waiting",
                            "attempts": 2,
                            "occurred_at": "2026-01-31T12:00:12.900Z",
                            "next_attempt_at": "2026-01-31T12:05:18.204Z",
                            "delivered_at": None,
                            "last_error": "HTTP 503",
                        }
                    ]
                }
            ]
        }
    )


class CallbackTestView(BaseModel):
    """What came of a test delivery."""

    id: str = Field(description="Its webhook-id")
    delivered: bool = Field(description="Whether the receiver answered 2xx")
    status: int | None = Field(description="HTTP status of the answer; null = there was none")
    error: str | None
    seconds: float

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": "msg_test_6f1d", "delivered": False, "status": 500, "error": "HTTP 500", "seconds": 0.041},
            ]
        }
    )


class SecretsView(BaseModel):
    """What a tenant's callbacks are signed with."""

    secrets: list[str] = Field(description="Standard Webhooks secrets, the newest first")

    model_config = ConfigDict(json_schema_extra={"examples": [{"secrets": ["whsec_…"]}]})


class HealthView(BaseModel):
    """The probes' good news."""

    status: str
    checks: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready", "checks": {"store": "ok", "storage": "ok"}}]}
    )
