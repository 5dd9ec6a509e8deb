"""A batch, as the service tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_ENDED = frozenset({"succeeded", "failed", "canceled"})

Change = Literal["pause", "resume", "cancel", "retry-failed"]
ReportFile = Literal["csv", "jsonl", "html", "checksums", "premis", "manifest"]
Decision = Literal["accepted", "rejected"]
Decided = Literal["pending", "accepted", "rejected", "all"]
ItemStatus = Literal["in_flight", "succeeded", "skipped", "failed", "canceled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Many pictures by one recipe; ``raw`` is everything that the service said."""

    id: str
    status: str  #: preparing, running, paused, canceling, completing, succeeded, failed, canceled
    items: Mapping[str, Any]  #: total, is_counted, waiting, in_flight, succeeded, skipped, failed, canceled
    items_per_s: float = 0.0
    eta_s: int | None = None
    gpu_s: float = 0.0
    cost: Mapping[str, Any] | None = None  #: amount, currency
    estimate: Mapping[str, Any] | None = None  #: of a dry run
    error: Mapping[str, str] | None = None  #: code, title, detail of a failed batch
    waits_for: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_done(self) -> bool:
        return self.status in _ENDED

    @property
    def done(self) -> int:
        """Items that have their row."""
        return sum(int(self.items.get(name, 0)) for name in ("succeeded", "skipped", "failed", "canceled"))

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Batch:
        return cls(
            id=said["id"],
            status=said["status"],
            items=said.get("items") or {},
            items_per_s=float(said.get("items_per_s") or 0.0),
            eta_s=said.get("eta_s"),
            gpu_s=float(said.get("gpu_s") or 0.0),
            cost=said.get("cost"),
            estimate=said.get("estimate"),
            error=said.get("error"),
            waits_for=said.get("waits_for"),
            raw=said,
        )
