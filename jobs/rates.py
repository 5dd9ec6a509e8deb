"""How often a caller may ask: token buckets in Redis, by key and by tenant, the same for every process of the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.connection import PREFIX, Scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One limit: ``quota`` requests at once, and as many again in every ``window_s``."""

    name: str  #: ``key``, ``tenant`` (whose own record may say another quota) or what the limit is for
    of: str  #: whose it is
    quota: int  #: 0: no limit, unless the tenant has its own
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How full a bucket is after a request."""

    name: str
    quota: int
    window_s: float
    left: int  #: requests that may come at once
    next_s: float  #: until one may come; 0 where some are left
    full_s: float  #: until all are there again


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Whether a request may go on."""

    is_allowed: bool
    levels: tuple[Level, ...]  #: of the buckets that have a limit

    @property
    def retry_after_s(self) -> float:
        """Until all buckets have a token."""
        return max((level.next_s for level in self.levels), default=0.0)


class Rates:
    """Counts requests."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, buckets: Sequence[Bucket]) -> Taken:
        """Take a token from each of the buckets, or, where one is empty, from none.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        args = [word for b in buckets for word in (b.name, b.of, b.quota, b.window_s)]
        taken, *lines = self._scripts.call("rate", keys=[f"{PREFIX}rate:{buckets[0].name}:{buckets[0].of}"], args=args)
        levels = (
            Level(
                name=name,
                quota=int(quota),
                window_s=float(window_s),
                left=int(left),
                next_s=float(next_s),
                full_s=float(full_s),
            )
            for name, quota, window_s, left, next_s, full_s in lines
        )
        return Taken(is_allowed=bool(taken), levels=tuple(levels))
