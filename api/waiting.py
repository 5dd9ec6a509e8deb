"""``Prefer: wait=N`` (RFC 7240): the answer may take up to N seconds if the job has ended by then."""

from __future__ import annotations

import asyncio
import re

from starlette.concurrency import run_in_threadpool

from api.events import read
from api.service import Service, StillWelcome
from jobs.model import Job, TenantId
from jobs.states import TERMINAL

#: Proxies give up on slower answers.
LONGEST_S = 60

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


def wait_s(prefer: str | None) -> int:
    """How long the caller would wait, 0 to ``LONGEST_S``. What is not understood is no preference, never an error."""
    found = _WAIT.search(prefer or "")
    return min(LONGEST_S, int(found[1])) if found else 0


def applied(seconds: int) -> dict[str, str]:
    """The header that says that the wish was heard."""
    return {"Preference-Applied": f"wait={seconds}"} if seconds else {}


async def until_ended(service: Service, tenant: TenantId, job: Job, *, seconds: int, welcome: StillWelcome) -> Job:
    """The job once it has ended, or as it is after ``seconds``, or when the process is about to stop.

    Whose key is revoked meanwhile hears of it as it was before.
    """
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + seconds
    while job.state not in TERMINAL and clock() < give_up_at and not service.stopping.is_set():
        await asyncio.sleep(min(service.settings.events_poll_s, max(0.0, give_up_at - clock())))
        latest = await run_in_threadpool(read, service, tenant, job.id) if await welcome() else None
        if latest is None:
            return job
        job = latest if isinstance(latest, Job) else job
    return job
