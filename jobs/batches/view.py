"""What a stranger may know of a batch: the one description in ``GET /v1/batches/{id}`` and in callbacks."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from jobs.batches.estimate import Estimate
from jobs.batches.manifest import Prefix
from jobs.batches.model import ENDED, Batch
from jobs.price import Price
from jobs.view import timestamp


def cost_view(price: Price | None, gpu_s: float) -> dict[str, Any] | None:
    """What so much of a device's time costs, where a price is known."""
    return None if price is None else {"amount": round(price.of(gpu_s), 4), "currency": price.currency}


def _estimate(estimate: Estimate, price: Price | None) -> dict[str, Any]:
    gpu_s = estimate.gpu_s
    return estimate.to_json() | {"cost": None if gpu_s is None else cost_view(price, gpu_s)}


def batch_view(batch: Batch) -> dict[str, Any]:
    """The batch as JSON words. URLs are relative."""
    spec, counts, path = batch.spec, batch.counts, f"/v1/batches/{batch.id}"
    left = max(0, batch.total - counts.done)
    has_ended = batch.state in ENDED
    return {
        "id": batch.id,
        "status": str(batch.state),
        "created_at": timestamp(batch.created_at),
        "started_at": timestamp(batch.started_at),
        "completed_at": timestamp(batch.completed_at),
        "manifest": None
        if isinstance(spec.source, Prefix)
        else {"uri": spec.source.ref.uri, "etag": spec.source.etag, "format": str(spec.source.format)},
        "prefix": None
        if not isinstance(spec.source, Prefix)
        else {
            "uri": f"s3://{spec.source.bucket}/{spec.source.prefix}",
            "include": list(spec.source.include),
            "exclude": list(spec.source.exclude),
        },
        "output": spec.output.uri,
        "options": spec.options.to_mapping(),
        "naming": spec.naming,
        "report_scope": spec.report,
        "priority": str(spec.priority),
        "failure_threshold": spec.failure_threshold,
        "deadline_at": timestamp(batch.deadline),
        "metadata": dict(spec.metadata),
        "redo_of": spec.redo_of,
        "generation": batch.generation,
        "items": {
            "total": batch.total,
            "is_counted": batch.is_prepared or (spec.dry_run and has_ended),
            "waiting": max(0, left - batch.in_flight),
            "in_flight": batch.in_flight,
            **dataclasses.asdict(counts),
        },
        "review": dataclasses.asdict(batch.review),
        "items_per_s": round(batch.rate, 3),
        "eta_s": round(left / batch.rate) if batch.rate > 0 and left and batch.is_prepared and not has_ended else None,
        "gpu_s": round(batch.gpu_s, 3),
        "cost": cost_view(batch.price, batch.gpu_s),
        "megapixels": round(batch.megapixels, 3),
        "dry_run": spec.dry_run,
        "estimate": batch.estimate and _estimate(batch.estimate, batch.price),
        "pins": json.loads(batch.pins.to_json()) if batch.pins else None,
        "error": batch.failure and dataclasses.asdict(batch.failure),
        "waits_for": batch.note or None,
        "urls": {
            "self": path,
            "items": f"{path}/items",
            "review": f"{path}/review",
            "events": f"{path}/events",
            "report": f"{path}/report" if has_ended and batch.is_prepared else None,
        },
    }
