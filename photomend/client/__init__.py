"""The Python client: submit pictures, follow jobs, fetch results. Needs httpx and nothing else of ours.

::

    from photomend import Client

    with Client("http://127.0.0.1:8080") as client:
        job = client.submit("old.jpg", options={"scale": 2})
        client.wait(job.id, on_progress=lambda job: print(job.stage, job.percent))
        client.download(job.id, to="restored.jpg")
"""

from photomend.client.connection import Client
from photomend.client.errors import (
    JobFailed,
    PhotomendError,
    ProblemError,
    Unreachable,
    UnsupportedFile,
    WaitTimeout,
)
from photomend.client.job import Event, Job, parse_events

__all__ = [
    "Client",
    "Event",
    "Job",
    "JobFailed",
    "PhotomendError",
    "ProblemError",
    "Unreachable",
    "UnsupportedFile",
    "WaitTimeout",
    "parse_events",
]
