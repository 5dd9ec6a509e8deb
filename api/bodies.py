"""Bodies at the door: what is declared too long is refused unread, and what nobody read is not listened to any longer.

The routes count what they read (``api.uploads``); this sees to the rest. A server goes on reading the body of a request
that was answered, to use the connection again: whoever sends without end would hold it for ever.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.problems import Problem


class BodyDoor:
    """ASGI middleware; ``limit``: bytes that the longest body of any call may have."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def watched() -> Message:
            nonlocal is_unread
            message = await receive()
            is_unread = is_unread and message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and is_unread:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if (problem := self._fault(headers)) is not None:
            await problems.response(problem, instance=scope["path"])(scope, watched, answered)
            return
        await self._app(scope, watched, answered)

    def _fault(self, headers: Headers) -> Problem | None:
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            return Problem("body_too_large", f"A body may have at most {self._limit} bytes.")
        return None
