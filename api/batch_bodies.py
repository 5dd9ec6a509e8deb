"""What is said to and about batches over the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from api.requests import MAX_DEADLINE_S, Metadata, Options
from api.schemas import FailureView
from jobs.batches.naming import DEFAULT, MAX_TEMPLATE

BATCH_PATTERN = "^batch_[0-9a-f]{32}$"
OBJECT_PATTERN = r"^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]/.+$"
PREFIX_PATTERN = r"^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?$"
MAX_PATTERNS = 50
Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=MAX_PATTERNS)]
_STRICT = ConfigDict(extra="forbid", strict=True)


class ManifestSaid(BaseModel):
    """A list of pictures in your bucket."""

    uri: str = Field(max_length=2048, description="s3://bucket/key", json_schema_extra={"pattern": OBJECT_PATTERN})
    format: Literal["csv", "inventory", "jsonl"] = Field(
        description="csv: Bucket,Key[,VersionId], keys URL-encoded, as S3 Batch Operations has it; inventory: the "
        "manifest.json of an S3 Inventory in CSV; jsonl: an object a line with source, and where wanted version_id, "
        "etag, sha256, options, output"
    )
    etag: str | None = Field(default=None, max_length=128, description="Of the version that you mean")

    model_config = _STRICT


class PrefixSaid(BaseModel):
    """Everything under a prefix of your bucket."""

    uri: str = Field(max_length=2048, description="s3://bucket/folder/", json_schema_extra={"pattern": PREFIX_PATTERN})
    include: Patterns = Field(
        default_factory=list, description="Patterns of names below it, such as *.tif; none = pictures by their endings"
    )
    exclude: Patterns = Field(default_factory=list)

    model_config = _STRICT


class BatchCallbackSaid(BaseModel):
    """Where to tell how it ended. Signed by the Standard Webhooks scheme."""

    url: str = Field(max_length=2048, description="https; other hosts only where the operator allows them")
    events: list[Literal["batch.completed", "batch.failed", "batch.canceled"]] = Field(
        default=["batch.completed", "batch.failed", "batch.canceled"], min_length=1
    )

    model_config = _STRICT


#: Says in JSON Schema what ``_has_one_source`` checks.
ONE_SOURCE: list[Any] = [
    {"required": [name], "properties": {name: {"type": "object"}, other: {"type": "null"}}}
    for name, other in (("manifest", "prefix"), ("prefix", "manifest"))
]


class BatchRequest(BaseModel):
    """Many pictures by one recipe: exactly one of ``manifest`` and ``prefix``."""

    manifest: ManifestSaid | None = None
    prefix: PrefixSaid | None = None
    output: str = Field(
        max_length=2048,
        description="s3://bucket/folder/: where results and the report go; never among the sources",
        json_schema_extra={"pattern": PREFIX_PATTERN},
    )
    options: Options = Field(default_factory=dict, description="Of every item; precision is exact unless named")
    naming: str = Field(
        default=DEFAULT,
        max_length=MAX_TEMPLATE,
        description="Of results below output: {dir} {stem} {suffix} {ext} {bucket} {number}",
    )
    report: Literal["all", "failed"] = Field(
        default="all", description="Rows of every item, or of those without result"
    )
    priority: Literal["interactive", "batch"] = "batch"
    failure_threshold: float | None = Field(
        default=None, ge=0, lt=1, allow_inf_nan=False, description="End it when a larger share of what is done failed"
    )
    deadline_s: float | None = Field(
        default=None, gt=0, le=MAX_DEADLINE_S, allow_inf_nan=False, description="End it this long after submit"
    )
    callback: BatchCallbackSaid | None = None
    metadata: Metadata = Field(default_factory=dict, description="Yours; given back with the batch")
    dry_run: bool = Field(
        default=False,
        description="Only say what it would come to: every line is counted and checked, headers of a sample are read, "
        "and the answer is in estimate once the batch has succeeded. Nothing is delivered",
    )

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": ONE_SOURCE,
            "examples": [
                {
                    "prefix": {"uri": "s3://photos/1923/", "include": ["*.tif"]},
                    "output": "s3://mended/1923/",
                    "options": {"scale": 2},
                    "failure_threshold": 0.1,
                },
                {
                    "manifest": {"uri": "s3://photos/lists/delivery-7.csv", "format": "csv"},
                    "output": "s3://mended/delivery-7/",
                },
            ],
        },
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> BatchRequest:
        if (self.manifest is None) == (self.prefix is None):
            raise ValueError("say exactly one of manifest and prefix")
        return self


class ManifestView(BaseModel):
    """The list that was submitted, and of which version it is."""

    uri: str
    etag: str
    format: Literal["csv", "inventory", "jsonl"]


class PrefixView(BaseModel):
    """What was listed."""

    uri: str
    include: list[str]
    exclude: list[str]


class ItemCounts(BaseModel):
    """How many items are what."""

    total: int
    is_counted: bool = Field(description="false: the source is still being read, there will be more")
    waiting: int
    in_flight: int
    succeeded: int
    skipped: int = Field(description="Their result was there already, by the same recipe and weights")
    failed: int
    canceled: int


class ReviewCountsView(BaseModel):
    """How many items a person should look at, and what was decided."""

    flagged: int
    pending: int = Field(description="Flagged, and nobody has decided")
    accepted: int = Field(description="By the latest decision, flagged or not")
    rejected: int


class PinsView(BaseModel):
    """What a batch is done with from its first item to its last."""

    model: str
    background: str
    precision: str
    weights: dict[str, str] = Field(description="SHA-256 of every network of the fleet when it began")
    always: list[str] = Field(description="Of these, the ones that take part whatever is asked for")
    engines: list[str]


class CostView(BaseModel):
    """What devices' time costs, by the price that the operator had set when the batch was submitted."""

    amount: float
    currency: str = Field(description="ISO 4217")


class ExampleView(BaseModel):
    """A line that would get no result."""

    number: int = Field(description="Of the line, from 1")
    source: str
    detail: str


class RefusalView(BaseModel):
    """Why lines would get no result."""

    code: str
    scope: Literal["lines", "sample"] = Field(
        description="lines: counted over all of them; sample: over the sources that were looked at"
    )
    count: int
    examples: list[ExampleView]


class QuantityView(BaseModel):
    """What the sample says of all."""

    mean: float
    smallest: float
    largest: float
    total: float = Field(description="Of everything that would be worked on")
    margin: float | None = Field(
        description="The total is within it in 19 of 20 samples; null: the sample is too small"
    )


class EstimateView(BaseModel):
    """What a dry run has found so far."""

    lines: int = Field(description="Of the manifest, or pictures under the prefix")
    repeated: int = Field(description="Lines that name the same source with the same options again: done once")
    sample: int = Field(description="Sources that are to be looked at, drawn by chance")
    looked: int = Field(description="That were")
    there: int = Field(description="Of these, those whose result lies there already")
    to_do: int = Field(description="Pictures that would be worked on, by the sample")
    formats: dict[str, int] = Field(description="Media type: sources of the sample")
    megapixels: QuantityView | None
    bytes: QuantityView | None
    refused: list[RefusalView]
    gpu_s: float | None = Field(description="Of devices' time, by jobs that were measured; null: none was")
    measured_jobs: int = Field(description="That it is known by")
    cost: CostView | None = Field(description="null: the time or the price is not known")
    notes: list[str] = Field(description="What a reader must know of it")


class BatchUrls(BaseModel):
    """Where to go from here."""

    self: str
    items: str
    review: str
    events: str
    report: str | None


class BatchView(BaseModel):
    """A batch as its owner sees it."""

    id: str
    status: Literal["preparing", "running", "paused", "canceling", "completing", "succeeded", "failed", "canceled"]
    created_at: str
    started_at: str | None
    completed_at: str | None
    manifest: ManifestView | None
    prefix: PrefixView | None
    output: str
    options: Options
    naming: str
    report_scope: Literal["all", "failed"]
    priority: Literal["interactive", "batch"]
    failure_threshold: float | None
    deadline_at: str | None
    metadata: dict[str, str]
    redo_of: str | None = Field(description="The batch whose results are made otherwise here")
    generation: int = Field(description="Grows with every retry-failed")
    items: ItemCounts
    review: ReviewCountsView
    items_per_s: float = Field(description="Over the last minute or so")
    eta_s: int | None
    gpu_s: float = Field(description="Seconds of the device's time")
    cost: CostView | None = Field(description="Of these seconds; null: the operator has set no price")
    megapixels: float
    dry_run: bool
    estimate: EstimateView | None = Field(description="Of a dry run; it grows until the batch has ended")
    pins: PinsView | None
    error: FailureView | None = Field(description="Why it failed")
    waits_for: str | None = Field(description="workers: none has said yet which weights it has")
    urls: BatchUrls


class BatchPageView(BaseModel):
    """Some batches, newest first."""

    batches: list[BatchView]
    next_cursor: str | None


class BatchListQuery(BaseModel):
    """Which page of batches."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, pattern=r"^[0-9]{1,16}$", description="next_cursor of the page before")
    limit: int = Field(default=50, ge=1, le=200)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Cursor = Annotated[int | None, BeforeValidator(_whole)]


class ItemsQuery(BaseModel):
    """Which items."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["in_flight", "succeeded", "skipped", "failed", "canceled"] = "failed"
    cursor: Cursor = Field(default=None, ge=0, le=2**40, description="next_cursor of the page before")
    limit: int = Field(default=50, ge=1, le=200)


class ItemView(BaseModel):
    """One line of the manifest: its row of the report, or the job that works on it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "number": 17,
                    "source": "s3://photos/1923/017.tif",
                    "status": "succeeded",
                    "review": [{"face": "g5k2p", "code": "identity", "reason": "its similarity is 0.41"}],
                    "decisions": [
                        {"decision": "rejected", "at": "2026-01-31T12:00:00.000Z", "by": "Mia", "note": "not her"}
                    ],
                }
            ]
        },
    )

    number: int = Field(description="Of the line, from 1")
    source: str
    status: str
    job_id: str | None = Field(default=None, description="in_flight only")


class ItemsView(BaseModel):
    """Some items in the manifest's order."""

    items: list[ItemView]
    next_cursor: int | None = Field(description="For the next page, which may be empty; null on the last")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "number": 17,
                            "source": "s3://photos/1923/017.tif",
                            "status": "failed",
                            "error_code": "image_truncated",
                            "error": "It ends after 3 of 9 strips.",
                        }
                    ],
                    "next_cursor": 1000,
                }
            ]
        }
    )


class ReportQuery(BaseModel):
    """Which file of the report."""

    model_config = ConfigDict(extra="forbid")

    file: Literal["csv", "jsonl", "html", "checksums", "premis", "manifest"] = Field(
        default="csv",
        description="checksums: as sha256sum -c reads them; premis: PREMIS 3, zipped; manifest: counts, pins, files",
    )


BODIES: tuple[type[BaseModel], ...] = (BatchRequest,)
