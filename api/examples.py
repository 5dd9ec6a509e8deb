"""The examples that the documentation shows."""

from __future__ import annotations

from typing import Any

from jobs.batches.manifest import Prefix
from jobs.batches.model import Batch, BatchId, BatchSpec, BatchState, Counts, Pins
from jobs.batches.view import batch_view
from jobs.model import LOCAL_TENANT, Artifact, Job, JobId, ObjectRef, Result
from jobs.states import JobState
from jobs.view import public_view

EXAMPLE_JOB_ID = "job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d"
EXAMPLE_UPLOAD_ID = "upl_5d3e1f0a9b8c7d6e5f4a3b2c1d0e9f8a"


EXAMPLE_BATCH_ID = "batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d"


def example_batch() -> dict[str, Any]:
    """A batch at work, in the very words that the service uses."""
    weights = {"gfpgan-1.4": "e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad"}
    batch = Batch(
        id=BatchId(EXAMPLE_BATCH_ID),
        tenant=LOCAL_TENANT,
        spec=BatchSpec(
            source=Prefix(bucket="photos", prefix="1923/", include=("*.tif",)),
            output=ObjectRef(bucket="mended", key="1923/"),
            failure_threshold=0.1,
        ),
        state=BatchState.RUNNING,
        created_at=1769860800.0,
        started_at=1769860803.2,
        revision=412,
        total=12000,
        is_prepared=True,
        in_flight=256,
        counts=Counts(succeeded=4031, skipped=12, failed=3),
        gpu_s=2821.7,
        megapixels=96744.0,
        rate=1.4,
        pins=Pins(
            model="gfpgan-1.4", background="none", precision="exact", weights=weights, engines=("torch 2.13 on cuda",)
        ),
    )
    return batch_view(batch)


def example_job() -> dict[str, Any]:
    """A succeeded job in the very words that the service uses, because it is told by the same function."""
    job = Job(
        id=JobId(EXAMPLE_JOB_ID),
        tenant=LOCAL_TENANT,
        input=ObjectRef(bucket="photos", key="1923/wedding.tif"),
        state=JobState.SUCCEEDED,
        metadata={"order": "4711"},
        created_at=1769860800.0,
        started_at=1769860800.4,
        completed_at=1769860812.9,
        attempt=1,
        revision=9,
        result=Result(
            artifacts=(
                Artifact(
                    part="image",
                    ref=ObjectRef(bucket="photomend", key="results/image.tif"),
                    content_type="image/tiff",
                    size=18874368,
                    sha256="4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
                    filename="wedding.tif",
                ),
            ),
            width=2048,
            height=3072,
            faces=(
                {
                    "id": "g5k2p",
                    "index": 0,
                    "box": [180.2, 96.5, 296.8, 248.1],
                    "landmarks": [[212.4, 158.0], [264.9, 157.1], [239.0, 186.3], [216.7, 213.9], [262.2, 213.2]],
                    "score": 0.998,
                    "size_px": 151.6,
                    "status": "restored",
                    "reason": None,
                    "yaw_deg": 2.4,
                    "identity": 0.71,
                    "review": [],
                    "seconds": 0.62,
                },
            ),
            model={"name": "gfpgan-1.4", "engine": "torch", "precision": "exact"},
            metrics={"detect_s": 0.8, "restore_s": 6.1, "megapixels": 1.6},
        ),
    )
    return public_view(job)
