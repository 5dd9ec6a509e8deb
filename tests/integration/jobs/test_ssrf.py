"""Requests that strangers name, against canaries: none of them leads to an address that is not the public internet.

Every connection that this process tries is seen twice: by a listener on all of the machine's own addresses, and by the
interpreter's audit hook, which also stops those to public addresses before a packet leaves. What is forbidden is spelt
out here from IANA's registries, not taken from the table under test.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from jobs.addresses import Address
from jobs.errors import ObjectError
from jobs.outbound import Fetcher, NotReached, Poster
from tests.fleet import wait_for

#: IANA's special-purpose registries (2025), multicast, and metadata addresses outside of them.
SPECIAL_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
]  # fmt: skip
SPECIAL_V6 = [
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48",
    "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128", "::ffff:0:0:0/96",
]  # fmt: skip
#: Loopback, every cloud's metadata, and the private ranges.
TARGETS = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "0.0.0.0", "100.100.100.200", "172.16.5.4"]
#: Neighbours of the special ranges, and well-known hosts.
PUBLIC_V4 = [
    "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
    "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255",
]  # fmt: skip
PUBLIC_V6 = [
    "2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2400:cb00::1",
    "2606:4700:4700::1111", "2620:fe::fe", "2a00:1450:4001:82a::200e", "3ffe::1", "3fff:1000::1",
]  # fmt: skip
PUBLIC = "93.184.216.34"
#: Made once: reading the certificates takes longer than everything else here.
TLS = ssl.create_default_context()


class Stopped(ConnectionError):
    """Raised by the hook in place of a connection to a public address."""


class Wire:
    """What was tried while it watches; addresses without a zone."""

    def __init__(self, canary_port: int) -> None:
        self.canary_port = canary_port
        self.tried: list[str] = []
        self.asked: list[str] = []
        self.is_watching = False

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.is_watching:
            return
        if event == "socket.connect" and isinstance(args[1], tuple):
            host = str(args[1][0]).partition("%")[0]
            self.tried.append(host)
            if not is_own(host):
                raise Stopped(host)
        elif event == "socket.getaddrinfo":
            self.asked.append(str(args[0]))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.tried.clear()
        self.asked.clear()
        self.is_watching = True
        try:
            yield
        finally:
            self.is_watching = False


def is_own(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


@pytest.fixture(scope="module")
def canary() -> Iterator[list[str]]:
    """Who came to the machine's own addresses, on either family; the first entry is the port."""
    heard: list[str] = []
    with _listen() as listener:
        heard.append(str(listener.getsockname()[1]))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, peer = listener.accept()
                    heard.append(peer[0])
                    connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _listen() -> socket.socket:
    try:
        return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):  # a machine without IPv6
        return socket.create_server(("0.0.0.0", 0))


@pytest.fixture(scope="module")
def wire(canary: list[str]) -> Wire:
    made = Wire(int(canary[0]))
    sys.addaudithook(made.hook)  # for good: it looks only while it watches
    return made


def spellings(address: str) -> list[str]:
    """An IPv4 address as hosts of a URL, in every way that some parser or stack reads as it."""
    number = int(ipaddress.IPv4Address(address))
    a, b, c, d = ipaddress.IPv4Address(address).packed
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    return [
        address, str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"{a}.{b}.{c}.0{d:o}", f"{address}.",
        f"{a:03d}.{b:03d}.{c:03d}.{d:03d}", address.replace(".", "%2e"), address.replace(".", "\u3002"),
        "".join(chr(0xFF10 + int(x)) if x.isdigit() else x for x in address),
        f"[::ffff:{address}]", f"[::ffff:{high}:{low}]", f"[0:0:0:0:0:ffff:{high}:{low}]", f"[::{address}]",
        f"[::ffff:0:{high}:{low}]", f"[64:ff9b::{address}]", f"[64:ff9b:1::{high}:{low}]", f"[2002:{high}:{low}::1]",
        f"[2001:0:{high}:{low}::]", f"[2600:1f00::5efe:{high}:{low}]", f"[2600:1f00::200:5efe:{high}:{low}]",
    ]  # fmt: skip


def samples(blocks: Sequence[str]) -> list[str]:
    """First, middle and last address of each block."""
    networks = [ipaddress.ip_network(block) for block in blocks]
    found = [str(n[i]) for n in networks for i in dict.fromkeys((0, n.num_addresses // 2, -1))]
    return list(dict.fromkeys(found))


def in_disguise(address: str) -> list[str]:
    """IPv6 answers of a resolver that speak to an IPv4 address."""
    return [str(ipaddress.ip_address(host[1:-1])) for host in spellings(address) if host.startswith("[")]


FORBIDDEN = samples(SPECIAL_V4) + samples(SPECIAL_V6) + [x for t in TARGETS for x in in_disguise(t)]

CONFUSING = [
    "{s}://127.0.0.1:{p}@example.com@127.0.0.1:{p}/", "{s}://example.com@127.0.0.1:{p}/", "{s}://user:pw@127.0.0.1:{p}/",
    "{s}://example.com:80@127.0.0.1:{p}/", "{s}://127.0.0.1:{p}\\@example.com/", "{s}://example.com\\@127.0.0.1:{p}/",
    "{s}://127.0.0.1:{p}#@example.com/", "{s}://example.com#@127.0.0.1:{p}/", "{s}://127.0.0.1:{p}?@example.com/",
    "{s}:127.0.0.1:{p}/", "{s}:/127.0.0.1:{p}/", "{s}:///127.0.0.1:{p}/", "//127.0.0.1:{p}/", "127.0.0.1:{p}",
    "{s}://127.0.0.1:{p}\t/", "{s}://127.0.0.1:{p} /", "{s}://12\t7.0.0.1:{p}/", "{s}://127.0.0.1\n:{p}/",
    " {s}://127.0.0.1:{p}/", "{s}://%31%32%37.0.0.1:{p}/", "{s}://127.0.0.1%00.example.com:{p}/",
    "{s}://127.0.0.1%2f@example.com:{p}/", "{s}://[::1%25lo]:{p}/", "{s}://[::1%lo]:{p}/", "{s}://[fe80::1%25eth0]:{p}/",
    "{s}://[fe80::1%25lo]:{p}/", "{s}://[::1]:{p}]/", "{s}://[::1:{p}/", "{s}://[[::1]]:{p}/", "{s}://[::1]@example.com/",
    "{s}://[127.0.0.1]:{p}/", "{s}://[v1.127.0.0.1]:{p}/", "{s}://[::ffff:7f00:1%25x]:{p}/", "{s}://localhost:{p}/",
    "{s}://LOCALHOST:{p}/", "{s}://localhost.:{p}/", "{s}://a.localhost:{p}/", "{s}://localhost.localdomain:{p}/",
    "{s}://redis:{p}/", "{s}://db.internal:{p}/", "{s}://printer.local:{p}/", "{s}://metadata.google.internal:{p}/",
    "{s}://1.0.0.127.in-addr.arpa:{p}/", "{s}://host.lan:{p}/", "{s}://0:{p}/", "{s}://00000:{p}/", "{s}://0x0:{p}/",
    "{s}://127.0.0.1.:{p}/", "{s}://127。0。0。1:{p}/", "{s}://①②⑦.0.0.1:{p}/", "file:///etc/passwd", "gopher://127.0.0.1:{p}/",
    "ftp://127.0.0.1:{p}/", "unix:/run/redis.sock", "data:text/plain,x", "jar:{s}://127.0.0.1:{p}!/", "{s}://127.0.0.1:0{p}/",
    "{s}://127.0.0.1:{p}:80/", "{s}://127.0.0.1:-1/", "{s}://127.0.0.1:٨٠/", "{s}://ex\u00admple.com:{p}/",
]  # fmt: skip


def resolving(*answers: Sequence[str]) -> Callable[[str, int], list[Address]]:
    """A resolver that gives these answers one after the other, and the last one for ever."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda host, _port: [ipaddress.ip_address(text) for text in _literal(host) or next(turns)]


def _literal(host: str) -> list[str]:
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    return []


def call(url: str, resolve: Callable[[str, int], list[Address]], *, fetch: bool, allow: Sequence[str] = ()) -> None:
    """Once as a callback or an input; what comes of it is for the wire to tell."""
    with contextlib.suppress(NotReached, ObjectError):
        if fetch:
            fetcher = Fetcher(allow_hosts=allow, timeout_s=5, resolve=resolve, tls=TLS, sleep=lambda _: None)
            fetcher.fetch(url, max_bytes=9)
        else:
            Poster(allow_hosts=allow, timeout_s=5, resolve=resolve, tls=TLS).post(url, body="{}", headers={})


def vectors(port: int) -> list[tuple[str, tuple[Sequence[str], ...]]]:
    """(URL, what the resolver says call by call)."""
    never = ([PUBLIC],)
    literal = [(f"https://{host}:{port}/x", never) for target in TARGETS for host in spellings(target)]
    plain = [(f"http://{host}:{port}/x", never) for host in spellings("127.0.0.1")]
    ranges = [(f"https://[{x}]:{port}/" if ":" in x else f"https://{x}:{port}/", never) for x in FORBIDDEN]
    named = [(f"https://hooks.example.com:{port}/", ([x],)) for x in FORBIDDEN]
    mixed = [(f"https://hooks.example.com:{port}/", ([PUBLIC, x],)) for x in FORBIDDEN[::3]]
    mixed += [(f"https://hooks.example.com:{port}/", ([x, PUBLIC],)) for x in FORBIDDEN[1::3]]
    zones = [(f"https://hooks.example.com:{port}/", ([x],)) for x in ("fe80::1%eth0", "::1%lo", "2600:1f00::1%1")]
    confusing = [(text.format(s=s, p=port), ([x],)) for text in CONFUSING for s, x in (("https", "127.0.0.1"),)]
    return literal + plain + ranges + named + mixed + zones + confusing


def test_no_spelling_name_or_answer_leads_to_a_forbidden_address(wire: Wire, canary: list[str]) -> None:
    tried = vectors(wire.canary_port)
    assert len(tried) >= 300
    for url, answers in tried:
        for fetch in (False, True):
            with wire.watching():
                call(url, resolving(*answers), fetch=fetch)
            assert wire.tried == [], (url, answers, fetch)
    assert canary[1:] == []


def test_a_name_that_changes_its_address_is_asked_once_for_a_connection(wire: Wire, canary: list[str]) -> None:
    """Rebinding: the check sees a public address, whoever asks again sees loopback."""
    for fetch in (False, True):
        with wire.watching():
            call(f"https://hooks.example.com:{wire.canary_port}/", resolving([PUBLIC], ["127.0.0.1"]), fetch=fetch)
        # A fetch is tried again, by a new question whose answer is judged anew.
        assert wire.tried == [PUBLIC]
        assert wire.asked == [PUBLIC], "the connection goes to the address, not to the name"
    assert canary[1:] == []


def test_every_public_address_is_spoken_to(wire: Wire) -> None:
    for address in PUBLIC_V4 + (PUBLIC_V6 if socket.has_dualstack_ipv6() else []):
        host = f"[{address}]" if ":" in address else address
        for url in (f"https://{host}:8443/a?b=c", "https://Hooks.Example.com/h", "https://xn--bcher-kva.example/"):
            for fetch in (False, True):
                with wire.watching():
                    call(url, resolving([address]), fetch=fetch)
                assert wire.tried, (url, address, fetch)
                assert {ipaddress.ip_address(x) for x in wire.tried} == {ipaddress.ip_address(address)}, url


def test_several_public_addresses_are_tried_one_after_the_other(wire: Wire) -> None:
    with wire.watching():
        call("https://hooks.example.com/", resolving(["8.8.8.8", "9.9.9.9", "1.1.1.1"]), fetch=False)
    assert wire.tried == ["8.8.8.8", "9.9.9.9", "1.1.1.1"]


def redirecting(to: str, status: int) -> Iterator[int]:
    """A server that sends whoever comes elsewhere; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                        connection.sendall(head.encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{p}/", "//[::1]:{p}/", "http://localhost:{p}/", "https://0x7f.1:{p}/"]
)
def test_a_redirect_leads_nowhere(wire: Wire, canary: list[str], status: int, to: str) -> None:
    with contextlib.contextmanager(redirecting)(to.format(p=wire.canary_port), status) as port:
        for fetch in (False, True):
            with wire.watching():
                call(f"http://127.0.0.1:{port}/", resolving([PUBLIC]), fetch=fetch, allow=[f"127.0.0.1:{port}"])
            assert wire.tried == ["127.0.0.1"]
    assert canary[1:] == []


def test_the_operators_list_opens_what_it_names_and_nothing_beside_it(wire: Wire, canary: list[str]) -> None:
    """The control: the canaries do hear what is let through."""
    port = wire.canary_port
    allow = [f"127.0.0.1:{port}", f"[::1]:{port}", "Receiver"]
    before = len(canary)
    for url in (f"http://127.0.0.1:{port}/", f"http://receiver:{port}/"):
        with wire.watching():
            call(url, resolving(["127.0.0.1"]), fetch=False, allow=allow)
        assert wire.tried == ["127.0.0.1"], url
    wait_for(lambda: len(canary) - before == 2, what="the canaries hear of both")
    if socket.has_dualstack_ipv6():
        with wire.watching():
            call(f"http://[::1]:{port}/", resolving(["127.0.0.1"]), fetch=False, allow=allow)
        assert wire.tried == ["::1"]
    for url in (f"http://127.0.0.2:{port}/", f"http://localhost:{port}/", f"http://127.0.0.1:{port + 1}/"):
        with wire.watching():
            call(url, resolving(["127.0.0.1"]), fetch=False, allow=allow)
        assert wire.tried == [], url
