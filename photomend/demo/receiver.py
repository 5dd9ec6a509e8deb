"""A callback receiver as a customer would write one: it checks the signature before it believes a word."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from photomend import webhooks
from photomend.stack.ports import LOOPBACK

#: A callback's body is below 20 kB by the standard; more is not read.
_MAX_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request that came in."""

    is_genuine: bool  #: signed with our secret, over exactly these bytes, minutes ago at most
    message_id: str  #: the same for every delivery of one event
    event: str  #: such as ``job.completed``; empty unless genuine
    data: dict[str, Any]  #: the job as the sender tells it; empty unless genuine


class CallbackReceiver:
    """An HTTP server on loopback; use it with ``with``."""

    def __init__(self, secret: str) -> None:
        self._received: queue.Queue[Received] = queue.Queue()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(secret, self._received))
        self._thread = threading.Thread(target=self._server.serve_forever, name="callback-receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}/callback"

    def next(self, *, timeout_s: float) -> Received | None:
        """The next request in the order of arrival, or None if none has come in time."""
        try:
            return self._received.get(timeout=timeout_s)
        except queue.Empty:
            return None


def verified(secret: str, headers: dict[str, str], body: bytes) -> Received:
    """What the request says, believed only if its signature holds."""
    message_id = headers.get("webhook-id", "")
    try:
        # The bytes as they came: parsing and dumping again may change them.
        said = webhooks.verify(body, headers, secret)
    except webhooks.VerificationError:
        return Received(is_genuine=False, message_id=message_id, event="", data={})
    return Received(is_genuine=True, message_id=message_id, event=said["type"], data=said["data"])


def _handler(secret: str, sink: queue.Queue[Received]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            if not 0 < size <= _MAX_BODY_BYTES:
                self._answer(413)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = verified(secret, headers, self.rfile.read(size))
            self._answer(204 if received.is_genuine else 401)
            sink.put(received)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the demo says itself what came."""

    return Handler
