"""For receivers of callbacks: is this request genuine, and what does it say? Needs the standard library alone.

::

    from photomend import webhooks

    event = webhooks.verify(body, headers, PHOTOMEND_CALLBACK_SECRET)   # the raw body, before anything parsed it
    if event["type"] == "job.completed":
        print(event["data"]["id"])

Source: Standard Webhooks 1.0.0, symmetric signatures (v1).
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["TOLERANCE_S", "VerificationError", "verify"]

#: How old, or how far ahead of our clock, a request may be (seconds): what was overheard cannot be sent again later.
TOLERANCE_S = 300.0

_PREFIX = "whsec_"
#: Of a secret, decoded: what the standard allows.
_SECRET_BYTES = range(24, 65)
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z", re.ASCII)
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class VerificationError(Exception):
    """Raised when a request is not genuine, too old, or not a callback at all. Answer it with 400 and forget it."""


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> dict[str, Any]:
    """The event that a genuine callback tells: ``type``, ``timestamp``, ``data``.

    ``body`` is the raw body; ``headers`` in any case; ``secrets`` one ``whsec_…`` or several, any of which will do, as
    while a secret is changed; ``now``: seconds since the epoch, for tests.

    Raises:
        VerificationError: not signed by any of the secrets, over just these bytes, within ``tolerance_s`` of now.
        ValueError: a secret is not one, or there is none: a mistake in the receiver's settings.
    """
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("name at least one secret")
    message_id, sent_at, signatures = _required(headers)
    _check_time(sent_at, tolerance_s, time.time() if now is None else now)
    raw = body.encode() if isinstance(body, str) else body
    signed = b".".join((message_id.encode(), sent_at.encode(), raw))
    if not _is_signed(signed, signatures, keys):
        raise VerificationError("no signature fits: another secret, or the body is not what was sent")
    return _event(raw)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # The secret itself stays out of the message: messages end in logs.
    if len(key) not in _SECRET_BYTES:
        raise ValueError(f"a secret is {_PREFIX} and base64 of 24 to 64 bytes")
    return key


def _required(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in _HEADERS if not found.get(name)]
    if missing:
        raise VerificationError(f"{missing[0]} is missing")
    message_id, sent_at, signatures = (found[name] for name in _HEADERS)
    return message_id, sent_at, signatures


def _check_time(sent_at: str, tolerance_s: float, now: float) -> None:
    if _TIMESTAMP.match(sent_at) is None:
        raise VerificationError("webhook-timestamp is not a number of seconds")
    if abs(now - int(sent_at)) > tolerance_s:
        raise VerificationError("webhook-timestamp is too far from now: a request of before, or a clock that is wrong")


def _is_signed(signed: bytes, signatures: str, keys: list[bytes]) -> bool:
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys]
    given = [value.encode() for version, _, value in (s.partition(",") for s in signatures.split()) if version == "v1"]
    # All are compared, each in constant time: how long it takes tells nothing.
    fits = [hmac.compare_digest(one, other) for one in expected for other in given]
    return any(fits)


def _event(raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw)
    except ValueError as err:
        raise VerificationError("the body is signed but is not JSON") from err
    if not isinstance(said, dict):
        raise VerificationError("the body is signed but is no event")
    return said
