"""The control's worker: the same work as a plain Celery task."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import httpx
from celery import Task

from jobs import callbacks
from jobs.blobs import BlobStore
from jobs.errors import StorageUnavailable
from jobs.model import ObjectRef
from jobs.settings import JobsSettings
from tests.faults.history import Event, History
from tests.faults.pictures import MAGIC, STEPS, Does, limit_process, mended, work
from tests.faults.storm.control_app import RETRIES, TASK, make_control

_settings = JobsSettings()
app = make_control(_settings.redis_url)


@app.task(name=TASK, bind=True, ignore_result=True)
def mend(task: Task, job_id: str, bucket: str, key: str, url: str | None) -> None:
    """Get, work, store, make visible, tell: each as the product does it, without its record."""
    history = History(Path(os.environ["TEST_HISTORY"]))
    # Of no meaning to Celery; it tells runs apart in the history.
    run = time.monotonic_ns()
    history.note(Event.CLAIMED, job_id, epoch=run, attempt=1)
    blobs = BlobStore.connect(_settings)
    try:
        data = blobs.get(ObjectRef(bucket=bucket, key=key), max_bytes=1 << 20)
        history.note(Event.BEGAN, job_id)
        words = json.loads(data.removeprefix(MAGIC))
        for _ in range(STEPS):
            work(Does(words["does"]), words["work_s"] / STEPS)
        blobs.put(ObjectRef(bucket=bucket, key=f"out/{job_id}.png"), mended(data), content_type="image/png")
    except StorageUnavailable as error:
        history.note(Event.REFUSED, job_id, move="retry", epoch=run)
        raise task.retry(exc=error, countdown=1, max_retries=RETRIES) from error
    history.note(Event.MOVED, job_id, move="commit", epoch=run)
    if url is not None:
        tell.delay(url, job_id, f"msg_{uuid.uuid4().hex}")


@app.task(name="control.tell", bind=True, ignore_result=True)
def tell(task: Task, url: str, job_id: str, message_id: str) -> None:
    """POST the callback, again and again until it is taken."""
    body = json.dumps({"type": "job.completed", "data": {"id": job_id}})
    assert _settings.callback_secret is not None
    headers = callbacks.headers([_settings.callback_secret.get_secret_value()], message_id, body, time.time())
    try:
        httpx.post(url, content=body, headers=headers, timeout=2.0).raise_for_status()
    except httpx.HTTPError as error:
        raise task.retry(exc=error, countdown=1, max_retries=RETRIES) from error


limit_process()
