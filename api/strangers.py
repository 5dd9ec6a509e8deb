"""Web pages of others are kept out: what a browser sends on their behalf is refused before it is read.

There are no keys, so on loopback whoever is on the machine may submit, and so may every web page that is open in its
browser: a form post needs no permission from us, and a name of the page's own that resolves to 127.0.0.1 (DNS
rebinding) would even let it read the answers. Browsers tell both: ``Origin`` is the page, ``Host`` the name it used.
Source: RFC 6454, section 7; Fetch Standard, "Origin header".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.problems import Problem

#: Methods that change nothing; a foreign page can't read their answers, since no CORS header allows it to.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Doorkeeper:
    """ASGI middleware: answers a problem instead of ``app`` to requests that a foreign web page had sent."""

    def __init__(self, app: ASGIApp, *, guards_host: bool, allow_hosts: Collection[str] = ()) -> None:
        """``guards_host``: Host must be loopback or allowed; ``allow_hosts``: names with or without a port."""
        self._app = app
        self._guards_host = guards_host
        self._allowed = frozenset(host.lower() for host in allow_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (problem := self._fault(scope["method"], Headers(scope=scope))) is not None:
            await problems.response(problem, instance=scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _fault(self, method: str, headers: Headers) -> Problem | None:
        host = headers.get("host", "").lower()
        if self._guards_host and not self._is_ours(host):
            return Problem("unexpected_host")
        origins = headers.getlist("origin")
        if method not in _SAFE and not all(self._is_same(origin.lower(), host) for origin in origins):
            return Problem("foreign_origin")
        return None

    def _is_ours(self, host: str) -> bool:
        return is_loopback(_name(host)) or self._is_allowed(host)

    def _is_same(self, origin: str, host: str) -> bool:
        """Scheme apart: behind a gateway that ends TLS the page is https and we are not."""
        netloc = _netloc(origin)
        return netloc is not None and (_bare(netloc) == _bare(host) or self._is_allowed(netloc))

    def _is_allowed(self, host: str) -> bool:
        return host in self._allowed or _name(host) in self._allowed


def is_loopback(name: str) -> bool:
    """Whether this host name or address is the machine itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _netloc(origin: str) -> str | None:
    """An Origin's host and port; None for ``null`` and for what is no origin."""
    parts = _split(origin)
    return parts.netloc if parts and parts.scheme in {"http", "https"} and parts.netloc else None


def _name(host: str) -> str:
    parts = _split(f"//{host}")
    return (parts.hostname or "") if parts else ""


def _bare(host: str) -> str:
    """Without a port that browsers leave out."""
    return host.removesuffix(":80").removesuffix(":443")


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
