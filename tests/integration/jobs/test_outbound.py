"""Posting to strangers' addresses: real sockets on loopback, names resolved as an attacker would have them."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.addresses import Address
from jobs.errors import InputUnreachable, ObjectDenied, ObjectMissing, ObjectTooLarge
from jobs.outbound import Fetcher, NotReached, Poster

TIMEOUT_S = 1.0


class Server:
    """Accepts connections and gives each to ``answer``; keeps what it heard."""

    def __init__(self, answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self._answer, self._tls = answer, tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as wrapped:
                    self.heard.append(request(wrapped))
                    self._answer(wrapped)
            except OSError:
                pass  # the client went away, as it should


def request(connection: socket.socket) -> bytes:
    """One whole request: head and body come in packets of their own."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += connection.recv(65536)
    head, _, body = heard.partition(b"\r\n\r\n")
    said = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    length = int(said[1]) if said else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def status(line: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def resolving_to(*addresses: str) -> Callable[[str, int], list[Address]]:
    return lambda _host, _port: [ipaddress.ip_address(address) for address in addresses]


def test_a_name_that_resolves_to_a_private_address_is_not_connected_to(serve: Callable[..., Server]) -> None:
    server = serve(status("200 OK"))
    for addresses in (["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["10.0.0.1"], []):
        poster = Poster(allow_hosts=(), timeout_s=TIMEOUT_S, resolve=resolving_to(*addresses))
        with pytest.raises(NotReached, match="not on the public internet"):
            poster.post(f"https://hooks.example.com:{server.port}/", body="{}", headers={})
    assert server.connections == 0


def test_the_connection_goes_to_the_address_that_was_judged_and_the_host_header_keeps_the_name(
    serve: Callable[..., Server],
) -> None:
    """The name is asked for once: a second question could be answered differently."""
    server, asked = serve(status("204 No Content")), []

    def resolve(host: str, port: int) -> list[Address]:
        asked.append((host, port))
        return [ipaddress.ip_address("127.0.0.1")]

    poster = Poster(allow_hosts=("hooks.test",), timeout_s=TIMEOUT_S, resolve=resolve)
    answer = poster.post(f"http://hooks.test:{server.port}/path?a=1", body='{"a":"ä"}', headers={"webhook-id": "m1"})
    assert answer.status == 204
    assert asked == [("hooks.test", server.port)]
    head, _, body = server.heard[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /path?a=1 HTTP/1.1\r\n")
    lines = head.lower().split("\r\n")
    assert f"host: hooks.test:{server.port}" in lines
    assert "webhook-id: m1" in lines
    assert not any(line.startswith(("cookie", "authorization")) for line in lines)
    assert body == '{"a":"ä"}'


def test_a_redirect_is_an_answer_and_is_not_followed(serve: Callable[..., Server]) -> None:
    inner = serve(status("200 OK"))
    outer = serve(status(f"302 Found\r\nLocation: http://127.0.0.1:{inner.port}/"))
    poster = Poster(allow_hosts=(f"127.0.0.1:{outer.port}",), timeout_s=TIMEOUT_S)
    assert poster.post(f"http://127.0.0.1:{outer.port}/", body="{}", headers={}).status == 302
    assert inner.connections == 0


def test_a_proxy_from_the_environment_is_not_used(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(status("200 OK")), serve(status("202 Accepted"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    poster = Poster(allow_hosts=(f"127.0.0.1:{server.port}",), timeout_s=TIMEOUT_S)
    assert poster.post(f"http://127.0.0.1:{server.port}/", body="{}", headers={}).status == 202
    assert proxy.connections == 0


def never_ends(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def test_an_endless_answer_is_not_read(serve: Callable[..., Server]) -> None:
    server = serve(never_ends)
    poster = Poster(allow_hosts=(f"127.0.0.1:{server.port}",), timeout_s=TIMEOUT_S)
    began = time.monotonic()
    assert poster.post(f"http://127.0.0.1:{server.port}/", body="{}", headers={}).status == 200
    assert time.monotonic() - began < TIMEOUT_S


def drips(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        time.sleep(TIMEOUT_S / 5)
        connection.sendall(b"X-Slow: 1\r\n")


def says_nothing(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("answer", [drips, says_nothing])
def test_a_receiver_cannot_hold_a_sender_for_long(
    serve: Callable[..., Server], answer: Callable[[socket.socket], None]
) -> None:
    server = serve(answer)
    poster = Poster(allow_hosts=(f"127.0.0.1:{server.port}",), timeout_s=TIMEOUT_S)
    began = time.monotonic()
    with pytest.raises(NotReached):
        poster.post(f"http://127.0.0.1:{server.port}/", body="{}", headers={})
    assert time.monotonic() - began < 2 * TIMEOUT_S


def test_a_slow_resolver_counts_towards_the_time() -> None:
    is_over = threading.Event()

    def resolve(_host: str, _port: int) -> list[Address]:
        is_over.wait(30)
        return []

    began = time.monotonic()
    with pytest.raises(NotReached, match="in time"):
        Poster(allow_hosts=(), timeout_s=0.2, resolve=resolve).post("https://a.example.com/", body="{}", headers={})
    is_over.set()
    assert time.monotonic() - began < 10


def test_dead_addresses_share_one_time(serve: Callable[..., Server]) -> None:
    server = serve(says_nothing)
    poster = Poster(allow_hosts=("hooks.test",), timeout_s=0.4, resolve=resolving_to(*["127.0.0.1"] * 4))
    with pytest.raises(NotReached):
        poster.post(f"http://hooks.test:{server.port}/", body="{}", headers={})
    assert server.connections == 1


def test_a_tls_handshake_that_drips_is_cut(serve: Callable[..., Server]) -> None:
    """Its bytes come often enough for every time-out that counts silence."""
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB begins
            while not stop.wait(0.05):
                connection.sendall(b"\x02")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    poster = Poster(allow_hosts=(f"127.0.0.1:{port}",), timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(NotReached):
        poster.post(f"https://127.0.0.1:{port}/", body="{}", headers={})
    took_s = time.monotonic() - began
    stop.set()
    thread.join(5)
    listener.close()
    assert took_s < 10  # to its end the record would take a quarter of an hour


def fetcher(server: Server, **words: float) -> tuple[Fetcher, str]:
    allow = (f"127.0.0.1:{server.port}",)
    made = Fetcher(allow_hosts=allow, timeout_s=words.get("timeout_s", 10), sleep=lambda _: None)
    return made, f"http://127.0.0.1:{server.port}/a.png?sig=1"


def sends(text: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text.replace("\n", "\r\n").encode())


def test_a_picture_is_fetched_as_it_is(serve: Callable[..., Server]) -> None:
    server = serve(sends("HTTP/1.1 200 OK\nContent-Length: 5\n\nabcde"))
    made, url = fetcher(server)
    assert made.fetch(url, max_bytes=5) == b"abcde"
    head = server.heard[0].decode().lower()
    assert head.startswith("get /a.png?sig=1 http/1.1")
    assert "accept-encoding: identity" in head


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n", ObjectMissing),
        ("HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n", ObjectDenied),
        ("HTTP/1.1 200 OK\nContent-Length: 6\n\nabcdef", ObjectTooLarge),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n3\ndef\n0\n\n", ObjectTooLarge),
        ("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 3\n\nabc", InputUnreachable),
        ("HTTP/1.1 206 Partial Content\nContent-Length: 3\n\nabc", InputUnreachable),
        ("HTTP/1.1 302 Found\nLocation: /b\nContent-Length: 0\n\n", InputUnreachable),
        ("SSH-2.0-OpenSSH_9.6\n", InputUnreachable),
    ],
)
def test_what_is_no_picture_is_a_typed_error(serve: Callable[..., Server], said: str, error: type[Exception]) -> None:
    made, url = fetcher(serve(sends(said)))
    with pytest.raises(error) as caught:
        made.fetch(url, max_bytes=5)
    assert "sig=1" not in str(caught.value)


def test_what_may_pass_is_tried_again(serve: Callable[..., Server]) -> None:
    turns = iter(["HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\nContent-Length: 9\n\nabc"])

    def answer(connection: socket.socket) -> None:
        sends(next(turns, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))(connection)

    server = serve(answer)
    made, url = fetcher(server)
    assert made.fetch(url, max_bytes=99) == b"ok"
    assert server.connections == 3  # busy, cut short, whole


def test_a_dead_address_among_good_ones_is_passed_over(serve: Callable[..., Server]) -> None:
    server = serve(status("200 OK"))
    resolve = resolving_to("127.0.0.2", "127.0.0.1")  # nobody listens on the first
    poster = Poster(allow_hosts=("hooks.test",), timeout_s=TIMEOUT_S, resolve=resolve)
    assert poster.post(f"http://hooks.test:{server.port}/", body="{}", headers={}).status == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and key for hooks.test that only a test's own context trusts."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.test -addext subjectAltName=DNS:hooks.test"
    subprocess.run([tool, *words.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_the_certificate_must_be_the_names_though_we_connect_to_an_address(
    serve: Callable[..., Server], certificate: tuple[Path, Path]
) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(*certificate)
    names: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(status("200 OK"), server_tls)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    poster = Poster(
        allow_hosts=("hooks.test", "other.test"), timeout_s=5, resolve=resolving_to("127.0.0.1"), tls=trusting
    )
    assert poster.post(f"https://hooks.test:{server.port}/", body="{}", headers={}).status == 200
    assert names == ["hooks.test"]
    with pytest.raises(NotReached, match="certificate"):
        poster.post(f"https://other.test:{server.port}/", body="{}", headers={})
