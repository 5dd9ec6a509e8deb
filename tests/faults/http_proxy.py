"""An HTTP proxy in this process, between ours and S3, that answers instead of the server or spoils what it says.

::

    with HttpProxy(s3_server.endpoint_url) as proxy:
        slow_down = proxy.add(Spoil(method="GET", status=503, retry_after="1", times=2))
        ...
        assert slow_down.struck == 2  # the fault struck

Requests go on as they came, Host included, so that signatures stay valid.
"""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
#: What a connection says about itself, not about the message.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
#: As S3 words its refusals.
REFUSAL = "<Error><Code>{code}</Code><Message>a fault of the test's</Message></Error>"
CODES = {500: "InternalError", 503: "SlowDown", 507: "InsufficientStorage"}


@dataclass(eq=False, slots=True, kw_only=True)
class Spoil:
    """What becomes of some requests: of those that match, ``skip`` pass unharmed, then ``times`` are struck."""

    method: str | None = None  #: None = any
    path: str = ""  #: a part of the path, with the query
    skip: int = 0
    times: int | None = None  #: None = all that follow

    status: int | None = None  #: answered instead of the server's own
    retry_after: str | None = None  #: header of that answer
    reaches_server: bool = False  #: whether the server does all the same what it was asked: only its answer is lost
    wait_s: float = 0.0  #: before anything else
    is_dropped: bool = False  #: the connection ends without an answer
    truncate_at: int | None = None  #: bytes of the body that arrive
    admits_length: bool = False  #: a truncated body comes with a Content-Length that names what is left: it looks whole
    flip_at: int | None = None  #: index of a byte of the answer's body that arrives with its lowest bit changed
    flip_sent_at: int | None = None  #: the same of the request's body

    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def strikes(self, method: str, path: str) -> bool:
        if self.method not in {None, method} or self.path not in path:
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True


class HttpProxy:
    """Listens on a free port of loopback; ``spoils`` may be added and removed while everything runs."""

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self.upstream = (upstream.hostname or LOOPBACK, upstream.port or 80)
        self.requests: list[tuple[str, str]] = []  #: method and path, in the order of arrival
        self._spoils: list[Spoil] = []
        self._lock = threading.Lock()
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, spoil: Spoil) -> Spoil:
        """The first spoil that strikes decides."""
        with self._lock:
            self._spoils.append(spoil)
        return spoil

    def heal(self) -> None:
        with self._lock:
            self._spoils.clear()

    def met(self, method: str, path: str) -> Spoil:
        """What becomes of this request."""
        with self._lock:
            self.requests.append((method, path))
            return next((spoil for spoil in self._spoils if spoil.strikes(method, path)), _UNHARMED)


_UNHARMED = Spoil()


def flipped(data: bytes, at: int | None) -> bytes:
    """The same bytes, the lowest bit of one of them changed."""
    return data if at is None else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: HttpProxy

    def handle_error(self, *_: Any) -> None:
        """Callers that gave up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        spoil = self.server.proxy.met(self.command, self.path)
        body = flipped(body, spoil.flip_sent_at)
        time.sleep(spoil.wait_s)
        status, headers, data = spoil.status or 0, {}, b""
        if spoil.status is None or spoil.reaches_server:
            status, headers, data = self._asked(body)
        if spoil.is_dropped:
            self.close_connection = True
            return
        if spoil.status is not None:
            status, headers = spoil.status, {"Content-Type": "application/xml"}
            data = REFUSAL.format(code=CODES.get(status, "Trouble")).encode()
            if spoil.retry_after is not None:
                headers["Retry-After"] = spoil.retry_after
        self._answer(status, headers, data, spoil)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What the server says."""
        link = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            link.request(self.command, self.path, body=body or None, headers=headers)
            answer = link.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return answer.status, kept, answer.read()
        finally:
            link.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, spoil: Spoil) -> None:
        data = flipped(data, spoil.flip_at)
        sent = data if spoil.truncate_at is None else data[: spoil.truncate_at]
        length = str(len(sent) if spoil.admits_length else len(data))
        if self.command == "HEAD":
            length = next((value for name, value in headers.items() if name.lower() == "content-length"), "0")
        headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        self.send_response_only(status)
        for name, value in (headers | {"Content-Length": length}).items():
            self.send_header(name, value)
        with suppress(OSError):
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)
        # A body that ends early ends its connection.
        self.close_connection = self.close_connection or len(sent) < len(data)

    def log_message(self, *_: object) -> None:
        pass
