"""Where a callback may go: strict parsing of its URL, and which addresses are the public internet.

The API refuses at submit what the URL alone gives away. Names are resolved and judged again by the sender, for
every attempt, because what a name resolves to may change in between.

Source: IANA's special-purpose address registries (IPv4, IPv6); cloud metadata addresses outside of them.
``ipaddress.is_global`` is no guard: it lets 192.0.0.192, 168.63.129.16, NAT64 and 6to4 forms of 169.254.169.254 pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from jobs.errors import CallbackRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Longest URL that we store and send to.
MAX_URL = 2048
_DEFAULT_PORTS = {"https": 443, "http": 80}

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
#: A last label that resolvers read as a number makes the whole host an IPv4 address in some spelling.
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
#: Names that by convention never leave the machine or the site.
_LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "in-addr.arpa")

_FORBIDDEN_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
#: Prefixes whose last 32 bits are the IPv4 address that is really spoken to.
_EMBEDS_V4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTarget:
    """A callback URL taken apart."""

    url: str
    scheme: str  #: ``https``, or ``http`` for a trusted host
    host: str  #: lower case; an IPv6 address without brackets
    port: int
    trusted: bool  #: on the operator's allow-list: its addresses are not judged


def is_public(address: Address) -> bool:
    """True for an address of the public internet that a stranger may make us speak to."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _FORBIDDEN_V4)
    if any(address in block for block in _EMBEDS_V4):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    # ISATAP: ...:0:5efe:a.b.c.d or ...:200:5efe:a.b.c.d under any prefix.
    if (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE:
        return False
    return address in _GLOBAL_UNICAST_V6 and not any(address in block for block in _FORBIDDEN_V6)


def parse_callback_url(url: str, *, allow_hosts: Sequence[str] = ()) -> CallbackTarget:
    """The target that ``url`` names, if a callback may go there as far as the URL tells.

    ``allow_hosts`` is the operator's list of ``host:port``, or ``host`` for any port: these may be private and
    plain http.

    Raises:
        CallbackRefused: not a strict absolute URL, not https, or a name or literal address that is not public.
    """
    parts, host, port = _take_apart(url)
    trusted = f"{host}:{port}" in allow_hosts or f"[{host}]:{port}" in allow_hosts or host in allow_hosts
    if not trusted:
        if parts.scheme != "https":
            raise _refused("must begin with https://")
        _refuse_private_host(host)
    return CallbackTarget(url=url, scheme=parts.scheme, host=host, port=port, trusted=trusted)


def _refused(why: str) -> CallbackRefused:
    return CallbackRefused(f"the callback URL {why}", pointer="/callback/url")


def _take_apart(url: str) -> tuple[SplitResult, str, int]:
    # Parsers disagree about everything outside this set (tabs, backslashes, full-width dots), so none of it passes.
    if not url or len(url) > MAX_URL or not all("!" <= c <= "~" for c in url) or "\\" in url:
        raise _refused(f"must be at most {MAX_URL} printable ASCII characters without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise _refused("is not a valid URL") from err
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise _refused("must begin with https:// and name a host")
    if "@" in parts.netloc:
        raise _refused("must not hold a user name or password")
    if parts.fragment or "%" in parts.netloc or port == 0:
        raise _refused("must not hold a fragment, an escaped host, a zone or port 0")
    return parts, _host(parts), port or _DEFAULT_PORTS[parts.scheme]


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if "[" in parts.netloc:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as err:
            raise _refused("holds an IPv6 address that is not one") from err
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise _refused("holds a host name that is not one (international names go in as xn--…)")
    if _NUMERIC.match(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as err:
            raise _refused("spells an IPv4 address in an unusual way; write four decimal numbers") from err
    return host


def _refuse_private_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if "." not in host or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
            raise _refused("names a host that is not on the public internet") from None
        return
    if not is_public(address):
        raise _refused("names an address that is not on the public internet")
