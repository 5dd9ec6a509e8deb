"""An API that asks for keys, over real servers, and a worker's hands: what becomes of a job is for the test to say.

It has a logical Redis and a bucket of its own, so that nobody else takes its jobs.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from api.app import create_app
from api.settings import ApiSettings
from jobs.backlog import Slots
from jobs.blobs import BlobStore
from jobs.keys import DEFAULT_SCOPES, Scope
from jobs.model import Artifact, Failure, Job, JobId, Notice, Progress, Result, Tenant, TenantId
from jobs.object_names import result_ref
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests import logged

#: Redis has 16; the one of whoever started it is 0.
DATABASE = 5
LEASE_S = 600.0
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "application/json": "json"}


class KeyedApi:
    """An API on a socket, its keys, and what a worker would do."""

    def __init__(self, settings: ApiSettings, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.settings = settings
        self.store = JobStore.connect(settings)
        self.blobs = BlobStore.connect(settings)

    def key(self, tenant: str, *scopes: Scope, **entitlement: Any) -> str:
        """A key of a tenant, which is set up for it."""
        self.store.set_tenant(Tenant(id=TenantId(tenant), **entitlement))
        key, _ = self.store.keys.create(TenantId(tenant), scopes=scopes or DEFAULT_SCOPES)
        logged.plant(key)
        return key

    def revoke(self, key: str) -> None:
        (found,) = [one for one in self.store.keys.list() if one.id == key.split("_")[2]]
        self.store.keys.revoke(found.id)

    def worker_is_there(self, *, heartbeat_s: float = LEASE_S) -> None:
        self.store.publish_slots(Slots(worker="w", queues=(), free=1, total=1, heartbeat_s=heartbeat_s))

    def worker_is_gone(self) -> None:
        self.store.withdraw_slots("w")

    def claim(self, job_id: str) -> Job:
        job = self.store.claim(JobId(job_id), worker="w", lease_s=LEASE_S)
        assert isinstance(job, Job), job
        return job

    def beat(self, job: Job, stage: str, percent: int) -> None:
        self.store.beat(job.id, epoch=job.epoch, lease_s=LEASE_S, progress=Progress(stage=stage, percent=percent))

    def finish(
        self,
        job: Job,
        parts: dict[str, tuple[bytes, str]],
        *,
        size: tuple[int, int],
        faces: tuple[dict[str, Any], ...] = (),
        warnings: tuple[Notice, ...] = (),
    ) -> Job:
        """Store the parts (bytes and media type of each) and commit them; ``size``: (width, height) of the image."""
        artifacts = []
        for part, (data, media_type) in parts.items():
            extension = _EXTENSIONS[media_type]
            ref = result_ref(self.settings.bucket, job, part, extension)
            self.blobs.put(ref, data, content_type=media_type)
            digest = hashlib.sha256(data).hexdigest()
            name = f"{part.replace('/', '-')}.{extension}"
            artifacts.append(
                Artifact(
                    part=part, ref=ref, content_type=media_type, size=len(data), sha256=digest, filename=name
                )
            )  # fmt: skip
        model = {"name": "gfpgan-1.4", "sha256": "0" * 64, "engine": "torch"}
        width, height = size
        result = Result(
            artifacts=tuple(artifacts), width=width, height=height, faces=faces, warnings=warnings, model=model
        )
        return self.store.commit(job.id, epoch=job.epoch, result=result)

    def fail(self, job: Job, failure: Failure) -> Job:
        return self.store.fail(job.id, epoch=job.epoch, failure=failure)

    def jobs(self, tenant: str) -> list[Job]:
        """Newest first."""
        return list(self.store.list(TenantId(tenant)).jobs)


@contextmanager
def keyed_api(given: JobsSettings, *, at: int = 0, **more: Any) -> Iterator[KeyedApi]:
    """Serve it over the Redis and the storage of ``given`` until the block ends.

    ``at``: port, 0 = any that is free; ``more``: settings of its own.
    """
    with socket.create_server(("127.0.0.1", at)) as listener:
        port = listener.getsockname()[1]
        words = given.model_dump() | {
            "redis_url": f"{given.redis_url.rstrip('/').removesuffix('/0')}/{DATABASE}",
            "bucket": "keyed",
            "api_port": port,
            "api_keys_required": True,
            "events_poll_s": 0.02,
        }
        api = KeyedApi(ApiSettings(**(words | more)), port)
        app = create_app(api.store, api.blobs, api.settings)
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            app.state.service.stopping.set()
            server.should_exit = True
            thread.join(15)
            api.store.close()
        assert not thread.is_alive()
