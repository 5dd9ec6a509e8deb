"""What says that a record in Redis is ours: an HMAC, so that whoever can write there gains nothing in storage.

The spec of a job names what a worker reads; an API key names a tenant; a tenant's record names buckets. Each carries a
code over its own words, its id and its owner, so that none can be made, changed, or moved to another id without the
secret. The secret is known to API, keeper, worker and the operator's commands, and lies in none of the servers.

Source: RFC 2104 (HMAC; a code may be cut to half of the hash's length).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator

from jobs.errors import NotSetUp
from jobs.settings import JobsSettings

#: Bytes of a code: 128 bits cannot be guessed online, and every waiting job carries one.
CODE_BYTES = 16


class Seal:
    """Makes codes with the secret of today, and takes those of the other one as well while secrets are changed."""

    def __init__(self, settings: JobsSettings) -> None:
        self._settings = settings

    def code(self, kind: str, *words: str) -> str:
        """The code of these words, for records of this kind.

        Raises:
            NotSetUp: there is no secret.
        """
        return next(self._codes(kind, words))

    def is_genuine(self, code: str | None, kind: str, *words: str) -> bool:
        """Whether the code is ours, for just these words. How much of a wrong one is right takes no time to tell.

        Raises:
            NotSetUp: there is no secret.
        """
        given = (code or "").encode()
        return any(hmac.compare_digest(expected.encode(), given) for expected in self._codes(kind, words))

    def _codes(self, kind: str, words: tuple[str, ...]) -> Iterator[str]:
        require_secret(self._settings)
        # With the lengths in front no two lists of words read the same.
        message = "".join(f"{len(word)}:{word}" for word in ("photomend", kind, *words)).encode()
        for secret in (self._settings.signing_secret, self._settings.signing_secret_previous):
            if secret is not None:
                code = hmac.digest(secret.get_secret_value().encode(), message, hashlib.sha256)[:CODE_BYTES]
                yield base64.urlsafe_b64encode(code).decode().rstrip("=")


def require_secret(settings: JobsSettings) -> None:
    """Make sure that records can be signed and checked here.

    Raises:
        NotSetUp: they cannot.
    """
    if settings.signing_secret is None:
        raise NotSetUp(
            "PHOTOMEND_SIGNING_SECRET is not set. API, keeper, worker and operators' commands need the same one,"
            " 32 characters or more: `openssl rand -base64 32` makes one"
            " (`photomend up` and `photomend demo` have their own)"
        )
