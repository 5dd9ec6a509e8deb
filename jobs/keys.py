"""API keys: ``pm_live_<id>_<secret><checksum>``. A key is shown once; the store has its hash.

The secret is 256 random bits, so a plain SHA-256 is enough: slow hashes make up for secrets that people choose, and
here every request would pay for one. The prefix and the checksum (CRC-32 in base 62, over all that stands before it)
let secret scanners tell a leaked key from other text without asking us, and let us refuse most of what is none without
asking Redis.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from jobs.connection import PREFIX, Scripts, translated
from jobs.errors import InvalidRequest, KeyNotFound, TenantNotFound, TooManyKeys
from jobs.model import TenantId
from jobs.signing import Seal

KeyId = NewType("KeyId", str)

#: Keys of a tenant with the same scopes that are good at the same time: the old one and its successor.
MAX_ACTIVE = 2
#: How exactly it is known when a key was used last (seconds): not every request is to write.
USED_EVERY_S = 60.0
#: How long a revoked key is still listed (seconds).
REVOKED_KEPT_S = 30 * 86400
MAX_LABEL = 64

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH = 12
#: 62 ** 43 > 2 ** 256.
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_KEY = re.compile(rf"pm_live_(?P<id>[0-9a-z]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}\Z")


class Scope(StrEnum):
    """What a key may be used for."""

    SUBMIT = "submit"  #: submit, upload, cancel, delete: whatever changes its tenant's jobs
    READ = "read"  #: look at its tenant's jobs, events and results
    ADMIN = "admin"  #: both, and its tenant's keys
    METRICS = "metrics"  #: the figures of all tenants; in no other scope, for whoever runs the installation


#: What a key is good for unless its maker chooses.
DEFAULT_SCOPES = (Scope.SUBMIT, Scope.READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it may be shown: everything but the key itself."""

    id: KeyId
    tenant: TenantId
    scopes: tuple[Scope, ...]
    label: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None  #: to the minute; None = never
    sha256: str = field(default="", repr=False)  #: of the whole key; empty once it is revoked

    def is_active(self, now: float) -> bool:
        """Whether it opens anything at this time, Redis' clock."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_key() -> tuple[KeyId, str]:
    """An id that nobody has, and a key with it."""
    key_id = "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(_ID_LENGTH))
    body = f"pm_live_{key_id}_" + "".join(secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH))
    return KeyId(key_id), body + _checksum(body)


def id_in(key: str) -> KeyId | None:
    """The id that a key names; None for what cannot be one of ours, such as one with a slip of the pen."""
    match = _KEY.match(key)
    if match is None or key[-_CHECKSUM_LENGTH:] != _checksum(key[:-_CHECKSUM_LENGTH]):
        return None
    return KeyId(match["id"])


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits


class Keyring:
    """The keys of all tenants."""

    def __init__(self, scripts: Scripts, seal: Seal) -> None:
        self._scripts = scripts
        self._seal = seal

    def create(
        self,
        tenant: TenantId,
        *,
        scopes: Iterable[Scope] = DEFAULT_SCOPES,
        label: str = "",
        expires_in_s: float | None = None,
    ) -> tuple[str, ApiKey]:
        """The key, which is never to be had again, and what is kept of it.

        Raises:
            InvalidRequest: no scope, a label that is too long, a life that is over.
            TenantNotFound: nobody set this tenant up.
            TooManyKeys: it has two active ones for the same scopes.
            NotSetUp, StoreUnavailable.
        """
        chosen = tuple(scope for scope in Scope if scope in set(scopes))
        if not chosen:
            raise InvalidRequest("a key needs a scope: submit, read or admin")
        if len(label) > MAX_LABEL or not label.isprintable():
            raise InvalidRequest(f"a label is at most {MAX_LABEL} printable characters")
        if expires_in_s is not None and expires_in_s <= 0:
            raise InvalidRequest("a key must live for a while")
        key_id, key = new_key()
        now = self.now()
        expires_at = "" if expires_in_s is None else f"{now + expires_in_s:.6f}"
        sha256, words = _sha256(key), ",".join(chosen)
        code = self._seal.code("key", key_id, tenant, sha256, words, expires_at)
        args = [key_id, tenant, sha256, words, label, f"{now:.6f}", expires_at, code, MAX_ACTIVE]
        status = self._scripts.call("key_create", keys=[f"{PREFIX}key:{key_id}"], args=args)
        if status == "no_tenant":
            raise TenantNotFound(f"there is no tenant {tenant}")
        if status == "full":
            raise TooManyKeys(f"{tenant} has {MAX_ACTIVE} active keys for {words}; revoke one first")
        found = self.get(key_id)
        return key, found

    def get(self, key_id: KeyId) -> ApiKey:
        """What is kept of a key.

        Raises:
            KeyNotFound: there is none with this id.
            StoreUnavailable: Redis did not answer.
        """
        found = self._find(key_id)
        if found is None:
            raise KeyNotFound(f"there is no key {key_id}")
        return found[0]

    def list(self, tenant: TenantId | None = None) -> Iterator[ApiKey]:
        """A tenant's keys, or everybody's, the oldest first; revoked ones for thirty days.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        for owner in [tenant] if tenant is not None else self._owners():
            with translated():
                ids: Any = self._scripts.client.zrange(f"{PREFIX}keys:{owner}", 0, -1)
            for key_id in ids:
                found = self._find(KeyId(key_id))
                if found is None:
                    with translated():
                        self._scripts.client.zrem(f"{PREFIX}keys:{owner}", key_id)
                else:
                    yield found[0]

    def any_active(self) -> bool:
        """Whether anybody has a key that opens something.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        now = self.now()
        return any(key.is_active(now) for key in self.list())

    def revoke(self, key_id: KeyId, *, tenant: TenantId | None = None) -> ApiKey:
        """The key, which opens nothing from now on; processes that have just seen it forget it within seconds.

        Raises:
            KeyNotFound: there is none with this id, or it is another tenant's.
            StoreUnavailable: Redis did not answer.
        """
        found = self.get(key_id)
        if tenant is not None and found.tenant != tenant:
            raise KeyNotFound(f"{tenant} has no key {key_id}")
        self._scripts.call("key_revoke", keys=[f"{PREFIX}key:{key_id}"], args=[REVOKED_KEPT_S])
        return self.get(key_id)

    def check(self, key: str) -> ApiKey | None:
        """The key that this text is, if it is one that is good now.

        Raises:
            NotSetUp, StoreUnavailable.
        """
        key_id = id_in(key)
        found = self._find(key_id) if key_id is not None else None
        if found is None:
            return None
        kept, code = found
        # Both are compared whatever the first gives, each in constant time.
        is_right = hmac.compare_digest(kept.sha256, _sha256(key))
        is_ours = self._seal.is_genuine(code, "key", *_signed(kept))
        return kept if is_right and is_ours and kept.is_active(self.now()) else None

    def note_use(self, key: ApiKey) -> None:
        """Remember that it was used just now, if that is not known already to the minute.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        self._scripts.call("key_used", keys=[f"{PREFIX}key:{key.id}"], args=[USED_EVERY_S])

    def now(self) -> float:
        """Redis' clock.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            seconds, microseconds = self._scripts.client.time()
        return float(seconds) + float(microseconds) / 1e6

    def _owners(self) -> Sequence[TenantId]:
        with translated():
            found: Any = self._scripts.client.zrange(f"{PREFIX}tenants", 0, -1)
        return [TenantId(name) for name in found]

    def _find(self, key_id: KeyId) -> tuple[ApiKey, str | None] | None:
        with translated():
            record: Any = self._scripts.client.hgetall(f"{PREFIX}key:{key_id}")
        return (_key(key_id, record), record.get("code")) if record else None


def _key(key_id: KeyId, record: dict[str, str]) -> ApiKey:
    def seconds(name: str) -> float | None:
        return float(record[name]) if record.get(name) else None

    return ApiKey(
        id=key_id,
        tenant=TenantId(record["tenant"]),
        scopes=tuple(Scope(word) for word in record["scopes"].split(",")),
        label=record.get("label", ""),
        created_at=float(record["created_at"]),
        expires_at=seconds("expires_at"),
        revoked_at=seconds("revoked_at"),
        used_at=seconds("used_at"),
        sha256=record.get("sha256", ""),
    )


def _signed(key: ApiKey) -> tuple[str, ...]:
    expires_at = "" if key.expires_at is None else f"{key.expires_at:.6f}"
    return key.id, key.tenant, key.sha256, ",".join(key.scopes), expires_at


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
