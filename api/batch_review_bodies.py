"""What is said to and about the review of a batch over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.batch_bodies import Cursor, ItemView, ReviewCountsView, Whole
from api.requests import Options

MAX_REDO = 1000


Decided = Literal["pending", "accepted", "rejected", "all"]


class QueueQuery(BaseModel):
    """Which items."""

    model_config = ConfigDict(extra="forbid")

    decision: Decided = Field(
        default="pending", description="pending: flagged and not decided; all: flagged or decided"
    )
    cursor: Cursor = Field(default=None, ge=0, le=2**40, description="next_cursor of the page before")
    limit: int = Field(default=50, ge=1, le=200)


class ReviewSheetQuery(BaseModel):
    """Which lines."""

    model_config = ConfigDict(extra="forbid")

    decision: Decided = "all"


class PartQuery(BaseModel):
    """Which file of an item."""

    model_config = ConfigDict(extra="forbid")

    part: str = Field(
        default="image", max_length=64, description="input, or a part that the item's outputs name: image, mask …"
    )


class QueueView(BaseModel):
    """Some items that a person should look at, in the manifest's order, with what was decided about them."""

    items: list[ItemView]
    counts: ReviewCountsView
    next_cursor: int | None = Field(description="For the next page, which may be empty; null on the last")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "number": 17,
                            "source": "s3://photos/1923/017.tif",
                            "status": "succeeded",
                            "review": [{"face": "g5k2p", "code": "identity", "reason": "its similarity is 0.41"}],
                            "decisions": [],
                        }
                    ],
                    "counts": {"flagged": 31, "pending": 30, "accepted": 1, "rejected": 0},
                    "next_cursor": 1000,
                }
            ]
        }
    )


class RedoItem(BaseModel):
    """One item, and what to do otherwise."""

    number: Whole = Field(ge=1, le=2**40, description="Of the line, from 1")
    options: Options = Field(default_factory=dict, description="In place of the item's own; others stay as they are")

    model_config = ConfigDict(extra="forbid", strict=True)


class RedoBatchRequest(BaseModel):
    """Results to make once more in another way, as versions beside those that are there."""

    items: list[RedoItem] = Field(min_length=1, max_length=MAX_REDO)
    by: str = Field(default="", max_length=200, description="Who decided; the older versions are marked as rejected")

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"items": [{"number": 17, "options": {"strength": 0.5}}], "by": "Mia"}],
        },
    )


BODIES: tuple[type[BaseModel], ...] = (RedoBatchRequest,)
