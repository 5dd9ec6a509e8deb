"""Which addresses are the public internet: our own table, so that no library's idea of it decides.

Source: IANA's special-purpose address registries for IPv4 and IPv6 (what they call not globally reachable), RFC 6890
and its updates; clouds' metadata addresses outside of them. ``ipaddress.is_global`` is no guard: it lets 192.0.0.192,
168.63.129.16, and the NAT64 and 6to4 forms of 169.254.169.254 pass.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORBIDDEN_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host on this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local; everybody's metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
#: Everything else is not in use, or special: loopback, IPv4-compatible and -translated, NAT64's local prefix
#: (64:ff9b:1::/48), discard-only, segment routing, unique local (AWS's and Google's metadata), link-local, site-local,
#: multicast.
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)
#: Prefixes whose last 32 bits are the IPv4 address that is really spoken to: mapped, and NAT64's well-known one.
_EMBEDS_V4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
#: ISATAP (RFC 5214), under any prefix: …:0:5efe:a.b.c.d or …:200:5efe:a.b.c.d.
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF


def is_public(address: Address) -> bool:
    """True for an address of the public internet that a stranger may make us speak to."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _FORBIDDEN_V4)
    if address.scope_id is not None:
        return False  # a zone makes sense on a link only
    if any(address in block for block in _EMBEDS_V4):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
        return False
    return address in _GLOBAL_UNICAST_V6 and not any(address in block for block in _FORBIDDEN_V6)
