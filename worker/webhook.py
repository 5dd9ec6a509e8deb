"""Posting to an address that a stranger named, without being led anywhere else.

The name is resolved once, every address is judged (jobs.targets), and the connection goes to that very address while
Host and SNI keep the name: nobody can answer the check with one address and the connection with another. No redirects,
no proxies from the environment, nothing read of the answer but its head, one deadline for everything.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from jobs.errors import InvalidRequest
from jobs.targets import Address, CallbackTarget, is_public, parse_callback_url

Resolve = Callable[[str, int], Sequence[Address]]


class DeliveryFailed(Exception):
    """Raised when nothing was heard from the receiver, or it may not be spoken to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the receiver said."""

    status: int
    retry_after: str | None  #: the header as it came


def resolve(host: str, port: int) -> tuple[Address, ...]:
    """All addresses of ``host``, in the resolver's order.

    Raises:
        DeliveryFailed: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as err:
        raise DeliveryFailed(f"the name {host} does not resolve") from err
    # A zone id (%eth0) cannot follow a judged address: only link-local ones carry it.
    return tuple(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


class Poster:
    """Posts JSON; safe from several threads."""

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
        self._resolve = resolve
        self._tls = tls or httpx.create_ssl_context(trust_env=False)

    def post(self, url: str, *, body: str, headers: Mapping[str, str]) -> Answer:
        """The receiver's answer to ``body``.

        Raises:
            DeliveryFailed: the URL may not be called, or there was no answer in time.
        """
        try:
            target = parse_callback_url(url, allow_hosts=self._allow_hosts)
        except InvalidRequest as err:
            raise DeliveryFailed(err.detail) from err
        addresses = self._judged(target)
        error: httpx.HTTPError | None = None
        for address in addresses:
            try:
                return self._post(target, address, body=body, headers=headers)
            except httpx.ConnectError as err:
                error = err  # the next address may be up
            except httpx.HTTPError as err:
                raise DeliveryFailed(f"{type(err).__name__}: {err}") from err
        raise DeliveryFailed(f"no address of {target.host} answers: {error}") from error

    def _judged(self, target: CallbackTarget) -> Sequence[Address]:
        addresses = self._resolve(target.host, target.port)
        # One private address among public ones is reason enough: which of them is tried is up to the resolver.
        if not addresses or not (target.trusted or all(is_public(address) for address in addresses)):
            raise DeliveryFailed(f"{target.host} is not on the public internet")
        return addresses

    def _post(self, target: CallbackTarget, address: Address, *, body: str, headers: Mapping[str, str]) -> Answer:
        url = httpx.URL(target.url)
        with httpx.Client(
            verify=self._tls,
            timeout=self._timeout_s,
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": "photomend"},
        ) as client:
            request = client.build_request(
                "POST",
                url.copy_with(host=str(address)),
                content=body.encode(),
                headers={**headers, "Host": url.netloc.decode(), "Content-Type": "application/json"},
                extensions={"sni_hostname": target.host},
            )
            # httpx counts silence, not time: a receiver that drips bytes would hold a thread for ever.
            deadline = threading.Timer(self._timeout_s, client.close)
            deadline.start()
            try:
                response = client.send(request, stream=True)
                response.close()
            finally:
                deadline.cancel()
        return Answer(status=response.status_code, retry_after=response.headers.get("Retry-After"))
