"""What a callback says and how it is signed: Standard Webhooks 1.0.0, by the ``standardwebhooks`` package.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from jobs.model import CallbackEvent, Job
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


def headers(secret: str, msg_id: str, body: str, now: float) -> dict[str, str]:
    """The headers of one attempt. ``secret``: ``whsec_…``; ``now``: seconds since the epoch, of this attempt."""
    at = datetime.fromtimestamp(int(now), UTC)
    return {
        "content-type": "application/json",
        "webhook-id": msg_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": Webhook(secret).sign(msg_id, at, body),
    }


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
