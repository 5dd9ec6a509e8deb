"""A job's life as server-sent events: ``progress`` while it lasts, then one ``end`` with the whole job.

Each event's id is the record's revision, so a reader that lost the connection says Last-Event-ID and misses nothing:
every event tells the whole state, not a difference. Silence is broken by comments, so that proxies keep the
connection. The store is polled; a job that does not change is asked about less and less often. A stream ends within
seconds of the revocation of its reader's key; whoever comes back with it hears 401.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import structlog
from fastapi import Header
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool

from api.service import Service, StillWelcome
from jobs.errors import JobNotFound, StoreUnavailable
from jobs.model import Job, JobId, TenantId
from jobs.states import TERMINAL

logger = structlog.get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: How long a reader should wait before it connects again.
RETRY_MS = 1000
#: A job that has not changed is asked about at most this often, in multiples of the shortest interval.
SLOWEST = 4

View = Callable[[Job], dict[str, Any]]


def _digits(said: object) -> object:
    """As we wrote it: pydantic takes "+0.0" for a whole number, too."""
    if isinstance(said, str) and not (said.isascii() and said.isdigit()):
        raise ValueError("must be the id of an event, a whole number")
    return said


LastEventId = Annotated[
    Annotated[int, Field(ge=0), BeforeValidator(_digits)] | None,
    Header(description="The id of the last event that you have seen"),
]


async def stream(
    service: Service, tenant: TenantId, job: Job, *, view: View, last_seen: int | None, welcome: StillWelcome
) -> AsyncIterator[str]:
    """The events of ``job`` from the state that the reader has not seen yet, as text/event-stream."""
    yield f"retry: {RETRY_MS}\n\n"
    clock = asyncio.get_running_loop().time
    told, spoke, pause = last_seen, clock(), service.settings.events_poll_s
    while not service.stopping.is_set():
        if job.revision != told:
            yield event_of(job, view)
            told, spoke, pause = job.revision, clock(), service.settings.events_poll_s
            if job.state in TERMINAL:
                return
        elif clock() - spoke >= service.settings.events_keepalive_s:
            yield ": still here\n\n"
            spoke = clock()
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, service.settings.events_poll_s * SLOWEST)
        if not await welcome():
            return
        latest = await run_in_threadpool(read, service, tenant, job.id)
        if latest is None:
            return
        job = latest if isinstance(latest, Job) else job


def read(service: Service, tenant: TenantId, job_id: JobId) -> Job | bool | None:
    """The job; None when its record is gone; False when the store does not answer just now."""
    try:
        return service.store.get(job_id, tenant=tenant)
    except JobNotFound:
        return None
    except StoreUnavailable as err:
        logger.warning("store does not answer, event stream waits", job_id=job_id, error=str(err))
        return False


def event_of(job: Job, view: View) -> str:
    """The one event that tells the job's state now."""
    if job.state in TERMINAL:
        return _event("end", job.revision, view(job))
    progress = None if job.progress is None else {"stage": job.progress.stage, "percent": job.progress.percent}
    words = {"id": job.id, "status": job.state, "progress": progress, "cancel_requested": job.cancel_requested}
    return _event("progress", job.revision, words)


def _event(name: str, revision: int, data: dict[str, Any]) -> str:
    # JSON without line breaks: a line break would end the data line.
    return f"event: {name}\nid: {revision}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
