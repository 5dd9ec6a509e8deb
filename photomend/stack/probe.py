"""Whether a server on loopback answers."""

from __future__ import annotations

import http.client

from photomend.stack.ports import LOOPBACK

#: A healthy server answers in milliseconds; a machine that is very busy needs longer.
ANSWER_TIMEOUT_S = 5.0


def answers_ok(port: int, path: str) -> bool:
    """Whether GET ``path`` is answered by 200."""
    link = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_TIMEOUT_S)
    try:
        link.request("GET", path)
        return link.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
