"""Posting to strangers' addresses: real sockets on loopback, names resolved as an attacker would have them."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.targets import Address
from worker.webhook import DeliveryFailed, Poster

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
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
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
        with pytest.raises(DeliveryFailed, match="not on the public internet"):
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
    with pytest.raises(DeliveryFailed):
        poster.post(f"http://127.0.0.1:{server.port}/", body="{}", headers={})
    assert time.monotonic() - began < 2 * TIMEOUT_S + 0.5


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
    with pytest.raises(DeliveryFailed, match="certificate"):
        poster.post(f"https://other.test:{server.port}/", body="{}", headers={})
