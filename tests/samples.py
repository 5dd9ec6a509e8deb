"""Jobs, results and failures that tests build on."""

from __future__ import annotations

from typing import Any

from jobs.model import (
    LOCAL_TENANT,
    Artifact,
    Callback,
    CallbackEvent,
    Failure,
    Job,
    ObjectRef,
    Result,
    new_job_id,
)

CALLBACK = Callback(url="https://example.com/hook", events=tuple(CallbackEvent))
FAILURE = Failure(code="image_truncated", title="The image is truncated.", detail="It ends after 3 of 9 bytes.")


def job(**changes: Any) -> Job:
    """A job of the local tenant that nobody has submitted yet."""
    words: dict[str, Any] = {"id": new_job_id(), "tenant": LOCAL_TENANT, "input": ObjectRef.parse("s3://photos/a.jpg")}
    return Job(**(words | changes))


def result(name: str = "a", *, faces: int = 1, width: int = 1000, height: int = 1000) -> Result:
    """A result with one artifact; ``name`` makes results differ."""
    image = Artifact(
        part="image",
        ref=ObjectRef(bucket="photomend", key=f"results/local/{name}/image.png"),
        content_type="image/png",
        size=3,
        sha256="ab" * 32,
        filename=f"{name}.png",
    )
    found = tuple({"score": 0.9, "box": [0, 0, 9, 9]} for _ in range(faces))
    return Result(artifacts=(image,), width=width, height=height, faces=found, metrics={"restore_s": 1.5})
