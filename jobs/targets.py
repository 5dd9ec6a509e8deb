"""Where we may go for a stranger: strict parsing of callback and input URLs, against the operator's lists.

The API refuses at submit what the URL alone gives away. Names are resolved and judged again at every connection
(``jobs.outbound``), because what a name resolves to may change in between. ``jobs.addresses`` has the table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from jobs.addresses import is_public
from jobs.errors import CallbackRefused, InputRefused, InvalidRequest

#: Longest URL that we store and send to.
MAX_URL = 2048
_DEFAULT_PORTS = {"https": 443, "http": 80}

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
#: A last label that resolvers read as a number makes the whole host an IPv4 address in some spelling.
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
#: Names that by convention never leave the machine or the site.
_LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "in-addr.arpa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart."""

    url: str
    scheme: str  #: ``https`` or ``http``
    host: str  #: lower case; an IPv6 address without brackets
    port: int
    trusted: bool  #: on the operator's allow-list: its addresses are not judged


#: Makes the error of one kind of URL from what is wrong with it.
_Refuse = Callable[[str], InvalidRequest]


def parse_callback_url(url: str, *, allow_hosts: Sequence[str] = (), pointer: str = "/callback/url") -> Target:
    """The target that ``url`` names, if a callback may go there as far as the URL tells.

    ``allow_hosts`` is the operator's list of ``host:port``, or ``host`` for any port: these may be private and
    plain http.

    Raises:
        CallbackRefused: not a strict absolute URL, not https, or a name or literal address that is not public.
    """

    def refused(why: str) -> CallbackRefused:
        return CallbackRefused(f"the callback URL {why}", pointer=pointer)

    target = _target(url, allow_hosts, refused)
    if not target.trusted and target.scheme != "https":
        raise refused("must begin with https://")
    return target


def parse_input_url(url: str, *, allow_hosts: Sequence[str] = ()) -> Target:
    """The target that ``url`` names, if a picture may be fetched from there as far as the URL tells; http will do.

    Raises:
        InputRefused: not a strict absolute URL, or a name or literal address that is not public.
    """
    return _target(url, allow_hosts, lambda why: InputRefused(f"the input's URL {why}", pointer="/input"))


def is_own_door(entry: str) -> bool:
    """Whether an entry of an operator's list (``host:port`` or ``host``) is this machine, or link-local.

    There clouds keep the machine's credentials (169.254.169.254).
    """
    host = entry if entry.count(":") > 1 and not entry.startswith("[") else entry.rpartition(":")[0] or entry
    host = host.strip("[]").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _target(url: str, allow_hosts: Sequence[str], refused: _Refuse) -> Target:
    parts, port = _take_apart(url, refused)
    host = _host(parts, refused)
    allowed = {entry.lower() for entry in allow_hosts}
    trusted = not allowed.isdisjoint({host, f"{host}:{port}", f"[{host}]:{port}"})
    if not trusted:
        _refuse_private_host(host, refused)
    return Target(url=url, scheme=parts.scheme, host=host, port=port, trusted=trusted)


def _take_apart(url: str, refused: _Refuse) -> tuple[SplitResult, int]:
    # Parsers disagree about everything outside this set (tabs, backslashes, full-width dots), so none of it passes.
    if not url or len(url) > MAX_URL or not all("!" <= c <= "~" for c in url) or "\\" in url:
        raise refused(f"must be at most {MAX_URL} printable ASCII characters without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise refused("is not a valid URL") from err
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise refused("must begin with https:// and name a host")
    if "@" in parts.netloc:
        raise refused("must not hold a user name or password")
    if parts.fragment or "%" in parts.netloc or port == 0:
        raise refused("must not hold a fragment, an escaped host, a zone or port 0")
    return parts, port or _DEFAULT_PORTS[parts.scheme]


def _host(parts: SplitResult, refused: _Refuse) -> str:
    host = (parts.hostname or "").lower()
    if "[" in parts.netloc:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as err:
            raise refused("holds an IPv6 address that is not one") from err
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise refused("holds a host name that is not one (international names go in as xn--…)")
    if _NUMERIC.match(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as err:
            raise refused("spells an IPv4 address in an unusual way; write four decimal numbers") from err
    return host


def _refuse_private_host(host: str, refused: _Refuse) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if "." not in host or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
            raise refused("names a host that is not on the public internet") from None
        return
    if not is_public(address):
        raise refused("names an address that is not on the public internet")
