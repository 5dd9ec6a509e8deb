"""The wire bodies: what a caller may say, and what is said back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from api.examples import EXAMPLE_UPLOAD_ID
from api.options_schema import options_schema

#: Limits of what a caller may store with a job for itself.
MAX_METADATA_ENTRIES = 50
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
#: A result later than the record's life can't be read anyway.
MAX_DEADLINE_S = 30 * 86400


class _Said(BaseModel):
    """What a caller says: nothing unknown, nothing guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY)]
MetadataValue = Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_ENTRIES)]
Options = Annotated[dict[str, Any], WithJsonSchema(options_schema())]


class CallbackSaid(_Said):
    """Where to tell about the job. Signed by the Standard Webhooks scheme."""

    url: str = Field(description="https; other hosts only where the operator allows them")
    events: list[Literal["job.started", "job.completed", "job.failed", "job.canceled"]] = Field(
        default=["job.completed", "job.failed", "job.canceled"], min_length=1
    )


class Wishes(_Said):
    """Everything about a job but its picture; the ``request`` part of a multipart submit."""

    options: Options = Field(default_factory=dict)
    priority: Literal["interactive", "batch"] = "interactive"
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DEADLINE_S,
        allow_inf_nan=False,
        description="Fail if not done this long after submit",
    )
    callback: CallbackSaid | None = None
    metadata: Metadata = Field(default_factory=dict, description="Yours; given back with the job")

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"options": {"scale": 2, "outputs": ["image"]}}]}
    )


class JobRequest(Wishes):
    """A job on a picture that lies in storage: exactly one of ``input`` and ``upload_id``."""

    input: str | None = Field(default=None, description="s3://bucket/key")
    upload_id: str | None = Field(default=None, description="From POST /v1/uploads, after the PUT")

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "input": "s3://photos/1923/wedding.tif",
                    "options": {"model": "gfpgan-1.4", "scale": 2, "outputs": ["image", "comparison"]},
                    "callback": {"url": "https://example.com/hooks/photomend"},
                    "metadata": {"order": "4711"},
                },
                {"upload_id": EXAMPLE_UPLOAD_ID},
            ]
        },
    )

    @model_validator(mode="after")
    def _has_one_picture(self) -> JobRequest:
        if (self.input is None) == (self.upload_id is None):
            raise ValueError("say exactly one of input (s3://bucket/key) and upload_id")
        return self


class UploadRequest(_Said):
    """What will be uploaded."""

    content_type: Literal["image/jpeg", "image/png", "image/tiff", "image/webp"]
    size: int = Field(gt=0, description="Bytes; the PUT must send exactly as many")
    filename: str | None = Field(default=None, max_length=1024, description="Results are named after it")

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"content_type": "image/jpeg", "size": 482113, "filename": "oma.jpg"}]},
    )


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


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    status: Literal["queued", "processing", "succeeded", "failed", "canceled", "expired"]
    created_at: str = Field(description="RFC 3339, UTC")
    started_at: str | None = Field(description="Of the latest attempt")
    completed_at: str | None
    priority: Literal["interactive", "batch"]
    input: str
    options: Options
    output: OutputView | None
    faces: list[dict[str, Any]] = Field(description="Box, landmarks, score, size, status and reason of each")
    warnings: list[NoticeView]
    error: FailureView | None
    progress: ProgressView | None
    cancel_requested: bool
    attempt: int
    metrics: dict[str, float] = Field(description="Seconds by stage, queue_s, megapixels")
    model: dict[str, Any] | None = Field(description="name, sha256, engine, precision, tile_px")
    urls: UrlsView
    metadata: dict[str, str]
    replay_of: str | None


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="For the next page; null on the last")


class ListQuery(BaseModel):
    """Which page of jobs."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=256, description="next_cursor of the page before")
    limit: int = Field(default=50, ge=1, le=200)
    status: Literal["queued", "processing", "succeeded", "failed", "canceled", "expired"] | None = None


class ResultQuery(BaseModel):
    """Which part of the result."""

    model_config = ConfigDict(extra="forbid")

    part: str = Field(
        default="image",
        pattern=r"^(image|mask|comparison|provenance|faces/[0-9]{1,4})$",
        description="image, mask, comparison, provenance or faces/N",
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


class HealthView(BaseModel):
    """The probes' good news."""

    status: str
    checks: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready", "checks": {"store": "ok", "storage": "ok"}}]}
    )
