"""What the handlers share: the clients and settings, and who is asking."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from api import limits
from api.keys import Caller, Callers
from api.problems import Problem
from api.settings import ApiSettings
from jobs.blobs import BlobStore
from jobs.errors import StoreUnavailable
from jobs.keys import Scope
from jobs.metrics.instruments import CollectorRegistry
from jobs.model import JobId, TenantId, is_job_id
from jobs.store import JobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Built once per process; safe to use from several threads."""

    store: JobStore
    blobs: BlobStore
    settings: ApiSettings
    callers: Callers
    registry: CollectorRegistry  #: what this process tells Prometheus
    origin: dict[str, str] = field(default_factory=dict)  #: of the storage, once it is known
    stopping: threading.Event = field(default_factory=threading.Event)  #: set when open streams should end


#: Only tells the documentation how keys are sent; ``_caller`` reads the header itself, with errors of its own.
_BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", description="A key of your tenant: pm_live_…. On loopback none is needed."
)
#: ``is_welcome`` of one request.
StillWelcome = Callable[[], Awaitable[bool]]
#: Methods that change nothing.
_LOOKS = frozenset({"GET", "HEAD"})


# Dependencies are coroutines: plain functions would each cost a trip to another thread.
async def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


async def _shown(request: Request) -> Caller:
    """The caller whose key the request shows."""
    callers: Callers = request.app.state.service.callers
    said = request.headers.getlist("authorization")
    # Two of them are joined to something that is no key: neither is believed.
    authorization = ", ".join(said) if said else None
    caller = callers.known(authorization)
    if caller is None:
        caller = await run_in_threadpool(callers.find, authorization or "")
    return caller


async def is_welcome(request: Request, tenant: TenantId) -> bool:
    """Whether the key that a request of ``tenant`` showed is good still: for answers that take their time."""
    try:
        return (await _shown(request)).tenant == tenant
    except Problem:
        return False
    except StoreUnavailable:
        return True  # not known; and nothing is told meanwhile


async def _admitted(request: Request) -> Caller:
    """Who asks; counted, where there is a key to count for."""
    caller = await _shown(request)
    request.state.tenant = caller.tenant
    if caller.key_id is not None:
        request.state.key_id = caller.key_id
        service: Service = request.app.state.service
        told = await run_in_threadpool(limits.take, service.store.rates, service.settings, caller)
        request.state.headers = told
    return caller


async def _caller(request: Request, _documented: Annotated[object, Depends(_BEARER)]) -> Caller:
    return await _admitted(request)


def _entitled(request: Request, caller: Caller) -> TenantId:
    caller.require(Scope.READ if request.method in _LOOKS else Scope.SUBMIT)
    return caller.tenant


async def _tenant(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> TenantId:
    return _entitled(request, caller)


async def here_and_tenant(request: Request) -> tuple[Service, TenantId]:
    """What ``Here`` and ``Tenant`` give, for the calls that come most often.

    The framework took a third of a submit to work its way through these dependencies. Whoever calls this says
    ``openapi.KEY_NEEDED`` too.

    Raises:
        Problem: ``unauthorized``, ``missing_scope`` or ``rate_limited``.
        StoreUnavailable: Redis did not answer.
    """
    found: Service = request.app.state.service
    return found, _entitled(request, await _admitted(request))


async def _job_id(job_id: Annotated[str, Path(description="The job's id")]) -> JobId:
    # What is not an id is not looked up: strangers can't spell other keys.
    if not is_job_id(job_id):
        raise Problem("job_not_found")
    return JobId(job_id)


Here = Annotated[Service, Depends(_service)]
#: Who asks, whatever for.
Who = Annotated[Caller, Depends(_caller)]
#: Whose jobs this call is about: its key may read them, or for a call that changes something, submit.
Tenant = Annotated[TenantId, Depends(_tenant)]
Id = Annotated[JobId, Depends(_job_id)]
