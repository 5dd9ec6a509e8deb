"""Who is calling: from the Authorization header to a tenant and what its key may do.

A key that was found good is remembered for ``KEPT_S``, so that most requests ask nobody. That is also the longest time
that a revoked key goes on working, in every process of the API.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from api.problems import Problem
from jobs.errors import StoreUnavailable
from jobs.keys import ApiKey, KeyId, Keyring, Scope
from jobs.model import LOCAL_TENANT, TenantId

logger = structlog.get_logger(__name__)

#: Seconds; see above.
KEPT_S = 2.0
#: Keys remembered at a time; with more, those that were not seen for longest are looked up again.
MOST_KEPT = 4096

REALM = 'Bearer realm="photomend"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    tenant: TenantId
    scopes: frozenset[Scope]
    key_id: KeyId | None = None  #: None: nobody was asked for a key

    def require(self, scope: Scope) -> None:
        """Make sure that this may be done.

        Raises:
            Problem: ``missing_scope``.
        """
        # A tenant's own administrator sees nothing of the others.
        is_implied = scope is not Scope.METRICS and Scope.ADMIN in self.scopes
        if scope not in self.scopes and not is_implied:
            raise Problem(
                "missing_scope",
                f"This needs a key with the scope {scope}; yours has {', '.join(sorted(self.scopes))}.",
                headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'},
            )


#: Whoever calls an API on loopback without a key.
LOCAL_CALLER = Caller(tenant=LOCAL_TENANT, scopes=frozenset(Scope))


class Callers:
    """Knows callers by their keys. Safe to share between threads."""

    def __init__(self, keyring: Keyring, *, need_key: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """``need_key``: whoever shows none is refused, instead of being the local tenant."""
        self._keyring = keyring
        self._need_key = need_key
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, authorization: str | None) -> Caller | None:
        """The caller, if that can be said without asking anybody.

        Raises:
            Problem: ``unauthorized``.
        """
        if authorization is None:
            if self._need_key:
                raise _unauthorized(None)
            return LOCAL_CALLER
        digest = _digest(_bearer(authorization))
        with self._lock:
            caller, until = self._kept.get(digest, (None, 0.0))
            if caller is None or self._clock() >= until:
                self._kept.pop(digest, None)
                return None
            self._kept.move_to_end(digest)
            return caller

    def find(self, authorization: str) -> Caller:
        """The caller whose key this header shows. Blocks on Redis: call it in a thread.

        Raises:
            Problem: ``unauthorized``: there is no such key, or it is revoked or has expired.
            StoreUnavailable: Redis did not answer.
        """
        text = _bearer(authorization)
        # From before the question: a revocation that comes while it is asked counts.
        asked_at = self._clock()
        key = self._keyring.check(text)
        if key is None:
            raise _unauthorized("There is no such key, or it has been revoked or has expired.")
        self._note_use(key)
        caller = Caller(tenant=key.tenant, scopes=frozenset(key.scopes), key_id=key.id)
        with self._lock:
            self._kept[_digest(text)] = caller, asked_at + KEPT_S
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return caller

    def _note_use(self, key: ApiKey) -> None:
        try:
            self._keyring.note_use(key)
        except StoreUnavailable as err:
            # Nice to know; no reason to turn anybody away.
            logger.warning("use of a key not noted", key_id=key.id, error=str(err))


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _unauthorized("The Authorization header must be Bearer and a key.")
    return key.strip()


def _digest(key: str) -> bytes:
    # Neither kept in clear, nor compared byte by byte.
    return hashlib.sha256(key.encode()).digest()


def _unauthorized(detail: str | None) -> Problem:
    error = "" if detail is None else ', error="invalid_token"'
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": f"{REALM}{error}"})
