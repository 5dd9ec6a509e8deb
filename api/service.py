"""What the handlers share: the clients and settings, and who is asking."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Request

from api.problems import Problem
from api.settings import ApiSettings
from jobs.blobs import BlobStore
from jobs.model import LOCAL_TENANT, JobId, TenantId, is_job_id
from jobs.store import JobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Built once per process; safe to use from several threads."""

    store: JobStore
    blobs: BlobStore
    settings: ApiSettings
    stopping: threading.Event = field(default_factory=threading.Event)  #: set when open streams should end


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _tenant() -> TenantId:
    # An installation without keys has one tenant; it listens on loopback unless its operator says otherwise.
    return LOCAL_TENANT


def _job_id(job_id: Annotated[str, Path(description="The job's id")]) -> JobId:
    # What is not an id is not looked up: strangers can't spell other keys.
    if not is_job_id(job_id):
        raise Problem("job_not_found")
    return JobId(job_id)


Here = Annotated[Service, Depends(_service)]
Tenant = Annotated[TenantId, Depends(_tenant)]
Id = Annotated[JobId, Depends(_job_id)]
