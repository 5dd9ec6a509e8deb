"""What no process of the service starts with: settings, here or of Redis, by which accepted jobs or doors are lost."""

from __future__ import annotations

import structlog

from jobs.errors import NotSetUp, StoreUnavailable
from jobs.settings import JobsSettings
from jobs.signing import require_secret
from jobs.store import JobStore
from jobs.traces import require_tracer

logger = structlog.get_logger(__name__)


def require_safe(store: JobStore, settings: JobsSettings) -> None:
    """Make sure that jobs can be signed and that Redis keeps those that it accepts. It need not be up: then it is told.

    Raises:
        NotSetUp: there is no secret, Redis may evict jobs, or it forgets them when it restarts and that is not allowed;
            or traces are wanted and their library is not installed.
    """
    require_secret(settings)
    require_tracer(settings)
    try:
        faults = store.doctor().losses_of_redis(may_forget=settings.allow_volatile_redis)
    except StoreUnavailable as err:
        logger.warning("not known whether Redis keeps accepted jobs: it does not answer", error=str(err))
        return
    if faults:
        raise NotSetUp(
            f"Redis would lose accepted jobs: {'; '.join(faults)}. deploy/redis.conf has the right settings; where"
            " replicas of a managed service keep jobs instead of a file, PHOTOMEND_ALLOW_VOLATILE_REDIS=1"
        )
