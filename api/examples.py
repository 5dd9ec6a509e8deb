"""The examples that the documentation shows."""

from __future__ import annotations

from typing import Any

from jobs.model import LOCAL_TENANT, Artifact, Job, JobId, ObjectRef, Result
from jobs.states import JobState
from jobs.view import public_view

EXAMPLE_JOB_ID = "job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d"
EXAMPLE_UPLOAD_ID = "upl_5d3e1f0a9b8c7d6e5f4a3b2c1d0e9f8a"


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
            model={"name": "gfpgan-1.4", "engine": "torch", "precision": "exact"},
            metrics={"detect_s": 0.8, "restore_s": 6.1, "megapixels": 1.6},
        ),
    )
    return public_view(job)
