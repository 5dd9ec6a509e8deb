"""The callers' rates, and how they are told of them: RateLimit fields, 429 and Retry-After.

Source: draft-ietf-httpapi-ratelimit-headers-10 (``RateLimit-Policy: "key";q=100;w=60``, ``RateLimit: "key";r=5;t=42``)
and its problem type's member ``violated-policies``; RFC 9651 for the fields' form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from api.keys import Caller
from api.problems import Problem
from api.settings import ApiSettings
from jobs.rates import Bucket, Level, Rates, Taken

#: The settings' numbers are for a minute.
WINDOW_S = 60.0


def take(rates: Rates, settings: ApiSettings, caller: Caller) -> dict[str, str]:
    """Count one request of ``caller``; the headers that tell how much is left. Blocks on Redis: call it in a thread.

    Raises:
        Problem: ``rate_limited``, and nothing was counted.
        StoreUnavailable: Redis did not answer.
    """
    buckets = [
        Bucket(name="key", of=str(caller.key_id), quota=settings.key_requests_per_min, window_s=WINDOW_S),
        Bucket(name="tenant", of=caller.tenant, quota=settings.tenant_requests_per_min, window_s=WINDOW_S),
    ]
    return counted(rates.take(buckets))


def counted(taken: Taken) -> dict[str, str]:
    """The headers of an answer to a request that may go on.

    Raises:
        Problem: ``rate_limited``: it may not.
    """
    headers = fields(taken.levels)
    if taken.is_allowed:
        return headers
    empty = [level.name for level in taken.levels if level.next_s > 0]
    raise Problem(
        "rate_limited",
        headers={**headers, "Retry-After": str(max(1, math.ceil(taken.retry_after_s)))},
        more={"violated-policies": empty},
    )


def fields(levels: Sequence[Level]) -> dict[str, str]:
    """The RateLimit fields; none where nothing is limited."""
    if not levels:
        return {}
    policies = (f'"{level.name}";q={level.quota};w={math.ceil(level.window_s)}' for level in levels)
    limits = (f'"{level.name}";r={level.left};t={math.ceil(level.full_s)}' for level in levels)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}
