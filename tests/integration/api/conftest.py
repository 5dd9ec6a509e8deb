"""The API over our own Redis: called in this process, or served on a socket where streams and clients need one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from jobs.blobs import BlobStore
from jobs.model import Artifact, Failure, Job, JobId, Progress, Result
from jobs.object_names import result_ref
from jobs.settings import JobsSettings
from jobs.store import JobStore
from photomend.client import Client

#: Nothing listens there: whoever calls the storage in a test without one fails.
NO_STORAGE = "http://127.0.0.1:9"
ALLOWED_CALLBACK = "127.0.0.1:9999"
#: As a worker's record has it.
FACE = {
    "id": "g5k2p", "index": 0, "box": [2, 1, 9, 8], "landmarks": [[4, 3], [7, 3], [5, 5], [4, 6], [7, 6]], "score": 0.9,
    "size_px": 7, "status": "restored", "reason": None, "yaw_deg": -2.5, "identity": None, "review": [], "seconds": 0.1,
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


class Service:
    """The API as a caller sees it, and the worker's side of the store."""

    def __init__(self, settings: ApiSettings, *, blobs: BlobStore | None = None) -> None:
        self.settings = settings
        self.store = JobStore.connect(settings)
        self.blobs = blobs or BlobStore.connect(settings)
        self.app = create_app(self.store, self.blobs, settings)

    def call(self, method: str, path: str, **words: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            # As a server does: the traceback goes to the log, the problem to the caller.
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                return await client.request(method, path, **words)

        return asyncio.run(go())

    def submit(self, **words: Any) -> dict[str, Any]:
        answer = self.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"} | words)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def claim(self, job_id: str) -> Job:
        job = self.store.claim(JobId(job_id), worker="w", lease_s=30)
        assert isinstance(job, Job)
        return job

    def beat(self, job: Job, stage: str, percent: int) -> None:
        self.store.beat(job.id, epoch=job.epoch, lease_s=30, progress=Progress(stage=stage, percent=percent))

    def finish(self, job: Job, data: bytes | None = None, *, filename: str = "a.png") -> Job:
        """Commit a result with an image part; its bytes are stored where there is a storage."""
        ref = result_ref(self.settings.bucket, job, "image", "png")
        if data is not None:
            self.blobs.put(ref, data, content_type="image/png", filename=filename)
        image = Artifact(
            part="image", ref=ref, content_type="image/png", size=len(data or b"x"), sha256="0" * 64, filename=filename
        )
        result = Result(artifacts=(image,), width=20, height=10, faces=(FACE,))
        return self.store.commit(job.id, epoch=job.epoch, result=result)

    def fail(self, job: Job) -> Job:
        failure = Failure(code="image_truncated", title="The picture is damaged.", detail="It ends at byte 7.")
        return self.store.fail(job.id, epoch=job.epoch, failure=failure)


def make_settings(jobs: JobsSettings, **more: Any) -> ApiSettings:
    given = jobs.model_dump() | {"callback_allow_hosts": (ALLOWED_CALLBACK,), "events_poll_s": 0.02} | more
    return ApiSettings(**given)


@pytest.fixture(scope="session")
def no_storage() -> BlobStore:
    return BlobStore.connect(
        JobsSettings(s3_endpoint_url=NO_STORAGE, s3_access_key_id=SecretStr("k"), s3_secret_access_key=SecretStr("s"))
    )


@pytest.fixture
def service(redis_settings: JobsSettings, no_storage: BlobStore) -> Iterator[Service]:
    """The API with a Redis and without a storage: what needs none is proved by working."""
    made = Service(make_settings(redis_settings), blobs=no_storage)
    yield made
    made.store.close()


@pytest.fixture
def full_service(jobs_settings: JobsSettings) -> Iterator[Service]:
    """The API with a Redis and a storage."""
    made = Service(make_settings(jobs_settings, max_upload_bytes=1_000_000))
    yield made
    made.store.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Service], str]]:
    """Serves a service on a free port; gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread, Service]] = []

    def start(service: Service) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(service.app, log_config=None, access_log=False, ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, service))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread, service in running:
        service.app.state.service.stopping.set()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def client(full_service: Service, serve: Callable[[Service], str]) -> Iterator[Client]:
    with Client(serve(full_service), retries=1) as made:
        yield made


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem details of an answer that must be this error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert (said["status"], said["code"], said["type"]) == (status, code, f"/problems/{code}"), said
    assert said["title"]
    assert said["detail"][-1] in ".…"
    assert "Traceback" not in answer.text
    return said
