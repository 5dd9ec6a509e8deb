"""Speaking to an address that a stranger named, without being led anywhere else.

The name is resolved once, every address is judged (``jobs.addresses``), and the connection goes to that very address
while Host and SNI keep the name: nobody can answer the check with one address and the connection with another. No
redirects, no proxies from the environment, no more read than is allowed, and one deadline for everything.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx

from jobs.addresses import Address, is_public
from jobs.errors import InputUnreachable, InvalidRequest, ObjectDenied, ObjectMissing, ObjectTooLarge
from jobs.targets import Target, parse_callback_url, parse_input_url

T = TypeVar("T")
Resolve = Callable[[str, int], Sequence[Address]]

#: Of a name with more addresses, so many are tried.
MAX_ADDRESSES = 4
#: How often a picture is asked for, and the wait before the second and third time (seconds).
FETCH_WAITS_S = (0.0, 0.5, 2.0)
#: Answers that the next moment may better: throttled, or in trouble.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MISSING = frozenset({404, 410})
_DENIED = frozenset({401, 403})


class NotReached(Exception):
    """Raised when nothing was heard from the other side, or it may not be spoken to."""


class _Passing(Exception):
    """Raised inside for an answer that may be another one soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the receiver said."""

    status: int
    retry_after: str | None  #: the header as it came


def resolve(host: str, port: int) -> tuple[Address, ...]:
    """All addresses of ``host``, in the resolver's order.

    Raises:
        NotReached: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        raise NotReached(f"the name {host} does not resolve") from err
    # A zone (%eth0) stays: no address that has one is public.
    return tuple(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))


class Guard:
    """Exchanges one request for one answer with judged addresses only; safe from several threads."""

    def __init__(self, *, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._tls = tls or httpx.create_ssl_context(trust_env=False)

    def exchange(
        self,
        target: Target,
        method: str,
        *,
        until: float,
        headers: Mapping[str, str],
        read: Callable[[httpx.Response], T],
        body: bytes | None = None,
    ) -> T:
        """What ``read`` makes of the answer, all of it before ``until`` (the monotonic clock).

        Raises:
            NotReached: it may not be spoken to, or there was no answer in time.
        """
        error: httpx.HTTPError | None = None
        for address in self._judged(target, until)[:MAX_ADDRESSES]:
            request = _request(target, address, method, headers=headers, body=body)
            try:
                return self._send(request, until, read)
            except httpx.ConnectError as err:
                error = err  # the next address may be up
            except httpx.HTTPError as err:
                raise NotReached(f"{type(err).__name__}: {err}") from err
        raise NotReached(f"no address of {target.host} answers: {error}") from error

    def _judged(self, target: Target, until: float) -> Sequence[Address]:
        addresses = _in_time(lambda: self._resolve(target.host, target.port), until)
        # One private address among public ones is reason enough: which of them is tried is up to the resolver.
        if not addresses or not (target.trusted or all(is_public(address) for address in addresses)):
            raise NotReached(f"{target.host} is not on the public internet")
        return addresses

    def _send(self, request: httpx.Request, until: float, read: Callable[[httpx.Response], T]) -> T:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise NotReached("the time was over before it was asked")
        with (
            _Cut(left_s) as cut,
            httpx.Client(verify=self._tls, timeout=left_s, trust_env=False, follow_redirects=False) as client,
        ):
            request.extensions |= {"trace": cut.watch, "timeout": httpx.Timeout(left_s).as_dict()}
            response = client.send(request, stream=True)
            try:
                return read(response)
            finally:
                response.close()


class _Cut:
    """Ends a connection at its time. httpx counts silence, not time: who drips bytes would hold a thread for ever."""

    def __init__(self, after_s: float) -> None:
        self._timer = threading.Timer(after_s, self._strike)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._line is not None:
                self._line.close()
            self._line = None

    def watch(self, event: str, facts: Mapping[str, Any]) -> None:
        """Called by httpcore for each of its steps."""
        if event != "connection.connect_tcp.complete":
            return
        # A second name for the same connection: it stays valid when TLS wraps the first one.
        line: socket.socket = facts["return_value"].get_extra_info("socket").dup()
        with self._lock:
            self._line = line
        if self._is_over:
            self._strike()

    def _strike(self) -> None:
        self._is_over = True
        with self._lock, suppress(OSError):
            if self._line is not None:
                self._line.shutdown(socket.SHUT_RDWR)


def _request(
    target: Target, address: Address, method: str, *, headers: Mapping[str, str], body: bytes | None
) -> httpx.Request:
    url = httpx.URL(target.url)
    return httpx.Request(
        method,
        url.copy_with(host=str(address)),
        content=body,
        headers={"User-Agent": "photomend", **headers, "Host": url.netloc.decode()},
        extensions={"sni_hostname": target.host},
    )


def _in_time(ask: Callable[[], T], until: float) -> T:
    """What ``ask`` returns, or raises. A resolver may take minutes; it is left to itself when the time is over."""
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        # Carried over to the thread that waits.
        except BaseException as err:  # noqa: BLE001
            answers.put((None, err))

    threading.Thread(target=run, name="resolver", daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty as err:
        raise NotReached("the name was not resolved in time") from err
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


class Poster:
    """Posts JSON to callbacks; safe from several threads."""

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str],
        timeout_s: float,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_hosts = tuple(allow_hosts)
        self._timeout_s = timeout_s
        self._guard = Guard(resolve=resolve, tls=tls)

    def post(self, url: str, *, body: str, headers: Mapping[str, str]) -> Answer:
        """The receiver's answer to ``body``, of which only the head is read.

        Raises:
            NotReached: the URL may not be called, or there was no answer in time.
        """
        try:
            target = parse_callback_url(url, allow_hosts=self._allow_hosts)
        except InvalidRequest as err:
            raise NotReached(err.detail) from err
        return self._guard.exchange(
            target,
            "POST",
            until=time.monotonic() + self._timeout_s,
            headers={**headers, "Content-Type": "application/json"},
            read=lambda said: Answer(status=said.status_code, retry_after=said.headers.get("Retry-After")),
            body=body.encode(),
        )


class Fetcher:
    """Fetches pictures from input URLs; safe from several threads."""

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str],
        timeout_s: float,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._allow_hosts = tuple(allow_hosts)
        self._timeout_s = timeout_s
        self._guard = Guard(resolve=resolve, tls=tls)
        self._sleep = sleep

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """The bytes at ``url``. What may pass (no connection, 5xx) is tried again while there is time.

        Raises:
            ObjectMissing, ObjectDenied: the other side says so.
            ObjectTooLarge: more than ``max_bytes``; the rest is not read.
            InputUnreachable: it may not be spoken to, or does not give the picture.
        """
        try:
            target = parse_input_url(url, allow_hosts=self._allow_hosts)
        except InvalidRequest as err:
            raise _unreachable(err.detail) from err
        until = time.monotonic() + self._timeout_s
        error: Exception | None = None
        for wait_s in FETCH_WAITS_S:
            if time.monotonic() + wait_s >= until:
                break
            self._sleep(wait_s)
            try:
                return self._fetch(target, until, max_bytes)
            except (_Passing, NotReached) as err:
                error = err
        raise _unreachable(f"the input's URL gave no picture: {error}") from error

    def _fetch(self, target: Target, until: float, max_bytes: int) -> bytes:
        return self._guard.exchange(
            target,
            "GET",
            until=until,
            headers={"Accept": "image/*, application/octet-stream;q=0.9", "Accept-Encoding": "identity"},
            read=lambda said: _picture(said, max_bytes),
        )


def _picture(said: httpx.Response, max_bytes: int) -> bytes:
    """The body of a good answer."""
    _check(said)
    declared = said.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise ObjectTooLarge(f"the input's URL has {declared} bytes, allowed are {max_bytes}")
    data = bytearray()
    for chunk in said.iter_raw():
        data += chunk
        if len(data) > max_bytes:
            raise ObjectTooLarge(f"the input's URL has more than {max_bytes} bytes")
    return bytes(data)


def _check(said: httpx.Response) -> None:
    status = said.status_code
    if status in _MISSING:
        raise ObjectMissing("the input's URL says that there is nothing")
    if status in _DENIED:
        raise ObjectDenied("the input's URL does not let us read")
    if status in _PASSING:
        raise _Passing(f"HTTP {status}")
    if status != 200:
        hint = ", and redirects are not followed" if 300 <= status < 400 else ""
        raise _unreachable(f"the input's URL answered HTTP {status}{hint}")
    if said.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise _unreachable("the input's URL answered with a compressed body, which nobody asked for")


def _unreachable(why: str) -> InputUnreachable:
    return InputUnreachable(detail=f"{why[:1].upper()}{why[1:]}.")
