"""The Python client: submit pictures, follow jobs, fetch results. Needs httpx and nothing else of ours.

::

    from photomend import Client

    with Client("http://127.0.0.1:8080") as client:
        result = client.restore("old.jpg", to="mended.jpg", scale=2)
        print(result.path, len(result.faces), result.warnings)

        job = client.submit("old.jpg", options={"scale": 2})
        client.wait(job.id, on_progress=lambda job: print(job.stage, job.percent))
        client.download(job.id, to="restored.jpg")

        for face in client.detect("group.jpg").faces:
            print(face["id"], face["box"], face["status"], face["reason"])
"""

from photomend.client.batch import Batch
from photomend.client.connection import Client
from photomend.client.coroutines import AsyncClient
from photomend.client.errors import (
    InvalidRequest,
    JobFailed,
    NotAllowed,
    NotFound,
    PhotomendError,
    ProblemError,
    ServiceTrouble,
    TooMany,
    Unreachable,
    UnsupportedFile,
    WaitTimeout,
    WrongState,
)
from photomend.client.job import Event, Job, Result, parse_events

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "Event",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "NotAllowed",
    "NotFound",
    "PhotomendError",
    "ProblemError",
    "Result",
    "ServiceTrouble",
    "TooMany",
    "Unreachable",
    "UnsupportedFile",
    "WaitTimeout",
    "WrongState",
    "parse_events",
]
