"""The bodies that a caller may send; what is said back is in ``schemas.py``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from api.examples import EXAMPLE_UPLOAD_ID
from api.options_schema import detect_options_schema, options_schema

#: Limits of what a caller may store with a job for itself.
MAX_METADATA_ENTRIES = 50
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
#: What the addresses of pictures and the ids of uploads look like, for the documentation.
INPUT_PATTERN = r"^(s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]/.|https?://.)"
UPLOAD_PATTERN = "^upl_[0-9a-f]{32}$"
#: A result later than the record's life can't be read anyway.
MAX_DEADLINE_S = 30 * 86400


#: Says in JSON Schema what ``_has_one_picture`` checks.
ONE_PICTURE: list[Any] = [
    {"required": [name], "properties": {name: {"type": "string"}, other: {"type": "null"}}}
    for name, other in (("input", "upload_id"), ("upload_id", "input"))
]


def _whole(value: Any) -> Any:
    # 1.0 is an integer in JSON Schema, and some languages write every number so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Said(BaseModel):
    """What a caller says: nothing unknown, nothing guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY)]
MetadataValue = Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_ENTRIES)]
Options = Annotated[dict[str, Any], WithJsonSchema(options_schema())]
DetectOptions = Annotated[dict[str, Any], WithJsonSchema(detect_options_schema())]


class CallbackSaid(_Said):
    """Where to tell about the job. Signed by the Standard Webhooks scheme."""

    url: str = Field(description="https; other hosts only where the operator allows them")
    events: list[Literal["job.started", "job.completed", "job.failed", "job.canceled"]] = Field(
        default=["job.completed", "job.failed", "job.canceled"], min_length=1
    )


class CallbackTestRequest(_Said):
    """A receiver to try out."""

    url: str = Field(max_length=2048, description="As in a job's callback: https; others where the operator says so")

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"url": "https://example.com/hooks/photomend"}]}
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
    input_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the bytes that you mean: a file in the body with another one is refused "
        "(checksum_mismatch), in storage it fails as input_changed",
    )
    metadata: Metadata = Field(default_factory=dict, description="Yours; given back with the job")

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"options": {"scale": 2, "outputs": ["image"]}}]}
    )


class JobRequest(Wishes):
    """A job on a picture that lies in storage: exactly one of ``input`` and ``upload_id``."""

    # These patterns are said, not checked here: what is amiss with an address or an id has errors of its own.
    input: str | None = Field(
        default=None,
        max_length=2048,
        description="s3://bucket/key, or an http(s) URL where they are allowed",
        json_schema_extra={"pattern": INPUT_PATTERN},
    )
    upload_id: str | None = Field(
        default=None,
        description="From POST /v1/uploads, after the PUT",
        json_schema_extra={"pattern": UPLOAD_PATTERN},
    )
    input_etag: str | None = Field(
        default=None,
        max_length=128,
        pattern=r'^("[!#-~]+"|[!#-~]+)$',
        description="The storage's ETag of the version that you mean; another one fails as input_changed",
    )

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": ONE_PICTURE,
            "examples": [
                {
                    "input": "s3://photos/1923/wedding.tif",
                    "options": {"model": "gfpgan-1.4", "scale": 2, "outputs": ["image", "comparison"]},
                    "callback": {"url": "https://example.com/hooks/photomend"},
                    "metadata": {"order": "4711"},
                },
                {"upload_id": EXAMPLE_UPLOAD_ID},
            ],
        },
    )

    @model_validator(mode="after")
    def _has_one_picture(self) -> JobRequest:
        if (self.input is None) == (self.upload_id is None):
            raise ValueError("say exactly one of input (s3://bucket/key) and upload_id")
        return self


class DetectWishes(Wishes):
    """Everything about a job that only finds faces but its picture."""

    options: DetectOptions = Field(default_factory=dict)

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"options": {"outputs": ["image", "provenance"]}}]}
    )


class DetectRequest(JobRequest):
    """A job that only finds the faces of a picture that lies in storage."""

    options: DetectOptions = Field(default_factory=dict)

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": ONE_PICTURE,
            "examples": [
                {
                    "input": "s3://photos/1923/wedding.tif",
                    "options": {"min_score": 0.6, "outputs": ["image", "provenance"]},
                },
                {"upload_id": EXAMPLE_UPLOAD_ID},
            ],
        },
    )


class ReviewRequest(_Said):
    """A person's decision about a result."""

    decision: Literal["accepted", "rejected"]
    note: str = Field(default="", max_length=1000, description="Why")
    by: str = Field(default="", max_length=200, description="Who decided, as you call them")

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"decision": "rejected", "note": "the left face is not hers any more", "by": "Mia"}]
        },
    )


class RedoRequest(_Said):
    """What to do otherwise this time."""

    options: Options = Field(default_factory=dict, description="In place of the job's own; others stay as they are")

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"options": {"strength": 0.5}}]}
    )


class UploadRequest(_Said):
    """What will be uploaded."""

    content_type: Literal["image/jpeg", "image/png", "image/tiff", "image/webp", "image/gif", "image/avif"]
    size: Annotated[int, BeforeValidator(_whole)] = Field(gt=0, description="Bytes; the PUT must send exactly as many")
    filename: str | None = Field(default=None, max_length=1024, description="Results are named after it")
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Of the file: what arrives with another one is not used"
    )

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"content_type": "image/jpeg", "size": 482113, "filename": "oma.jpg"}]},
    )
