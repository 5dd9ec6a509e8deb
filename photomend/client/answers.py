"""What the service's refusals say, and how long to wait before a call is made again."""

from __future__ import annotations

import httpx

from photomend.client.errors import ProblemError, error_for

#: The first pause between repeats; it doubles. No pause is longer than the longest, whatever a server asks for.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


def problem(answer: httpx.Response) -> ProblemError:
    """The error that an answer tells, be it a problem of ours or not."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    asked = answer.headers.get("Retry-After", "")
    return error_for(answer.status_code)(
        status=answer.status_code,
        code=said.get("code", f"http_{answer.status_code}"),
        title=said.get("title", f"The service answers {answer.status_code}"),
        detail=said.get("detail", "This is not a photomend answer; check the address."),
        pointer=said.get("pointer"),
        retry_after_s=float(asked) if asked.isdigit() else None,
    )


def pause_s(answer: httpx.Response | None, attempt: int) -> float:
    """Seconds before the next attempt after the ``attempt``-th (from 0), which had this answer or none."""
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    own = float(FIRST_PAUSE_S * 2**attempt)
    return min(LONGEST_PAUSE_S, max(own, float(asked))) if asked.isdigit() else own
