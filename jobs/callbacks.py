"""What a callback says and how it is signed: Standard Webhooks 1.0.0, by the ``standardwebhooks`` package.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from jobs.model import LOCAL_TENANT, CallbackEvent, Job, TenantId
from jobs.view import public_view, timestamp

#: Seconds between one attempt and the next: ten more after the first, over three days (75.6 hours).
RETRY_AFTER_S: tuple[float, ...] = (
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
)
#: Each wait is up to this much longer, so that the callbacks of an outage do not all come back at once.
JITTER = 0.25
PREFIX = "whsec_"
#: Of a secret, decoded: what the standard allows.
SECRET_BYTES = range(24, 65)
#: The standard asks for payloads below 20 kB.
MAX_BODY_BYTES = 20_000


def body(job: Job, event: CallbackEvent, *, at: float | None = None) -> str:
    """The JSON of one callback. ``at``: when the event happened (Redis' clock); None = when the job last moved.

    A body over 20 kB goes without the parts that grow with the picture, ``truncated`` names them; the URL in
    ``data.urls.self`` has all.
    """
    happened = at or job.completed_at or job.started_at or job.created_at
    data = public_view(job)
    text = _dump(event, happened, data)
    left_out = []
    for part in ("faces", "warnings", "metadata"):
        if len(text.encode()) <= MAX_BODY_BYTES:
            break
        left_out.append(part)
        data |= {part: {} if part == "metadata" else [], "truncated": left_out}
        text = _dump(event, happened, data)
    return text


def headers(secrets: Sequence[str], msg_id: str, body: str, now: float) -> dict[str, str]:
    """The headers of one attempt, signed with each of the ``secrets`` (``whsec_…``).

    ``now``: seconds since the epoch, of this attempt.
    """
    at = datetime.fromtimestamp(int(now), UTC)
    return {
        "content-type": "application/json",
        "webhook-id": msg_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(msg_id, at, body) for secret in secrets),
    }


def is_secret(text: str) -> bool:
    """Whether this is a secret of the standard: ``whsec_`` and base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(PREFIX) and len(key) in SECRET_BYTES


def tenant_secret(master: str, tenant: TenantId) -> str:
    """The secret that a tenant's callbacks are signed with: its own, so that no tenant can speak to another for us.

    The one tenant of an installation without keys has the installation's itself. HMAC-SHA256 as a key derivation
    function (NIST SP 800-108), so nothing is stored, and a changed master changes all.
    """
    if tenant == LOCAL_TENANT:
        return master
    key = base64.b64decode(master.removeprefix(PREFIX))
    derived = hmac.digest(key, f"photomend callback secret v1 {tenant}".encode(), "sha256")
    return f"{PREFIX}{base64.b64encode(derived).decode()}"


def retry_in_s(
    attempt: int,
    *,
    retry_after_s: float | None = None,
    schedule_s: Sequence[float] = RETRY_AFTER_S,
    rng: random.Random | None = None,
) -> float | None:
    """Seconds until the next attempt after the ``attempt``-th failed; None = give up.

    ``retry_after_s`` is what the receiver asked for: waited for at least, but not longer than a day.
    """
    if attempt > len(schedule_s):
        return None
    jitter = 1 + JITTER * (rng or random).random()
    asked = min(retry_after_s or 0.0, 86_400.0)
    return max(schedule_s[max(attempt, 1) - 1] * jitter, asked)


def _dump(event: CallbackEvent, happened: float, data: dict[str, object]) -> str:
    words = {"type": str(event), "timestamp": timestamp(happened), "data": data}
    return json.dumps(words, ensure_ascii=False, separators=(",", ":"))
