"""The proxy that the fault tests trust: each of its faults does what it says, and only then says that it struck."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from photomend.stack.ports import free_ports
from tests.faults.proxy import HOLE, LOOPBACK, Proxy, Way


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets."""
    listener = socket.create_server((LOOPBACK, 0))

    def echo(link: socket.socket) -> None:
        with link, suppress(OSError):
            while data := link.recv(65536):
                link.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def proxy(echo_port: int) -> Iterator[Proxy]:
    with Proxy(echo_port) as proxy:
        yield proxy


@pytest.fixture
def line(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, proxy.port), timeout=5) as line:
        assert heard(line, b"hello") == b"hello"
        yield line


def heard(line: socket.socket, said: bytes, *, within_s: float = 5.0) -> bytes:
    """What came back, up to the end of the connection or as many bytes as were said."""
    line.settimeout(within_s)
    line.sendall(said)
    got = b""
    while len(got) < len(said) and (data := line.recv(65536)):
        got += data
    return got


def is_reset_at_once(proxy: Proxy) -> bool:
    try:
        with socket.create_connection((LOOPBACK, proxy.port), timeout=5) as line:
            line.sendall(b"?")
            line.recv(1)
    except ConnectionError:
        return True
    return False


def test_nothing_is_changed_and_nothing_struck_while_all_is_well(proxy: Proxy, line: socket.socket) -> None:
    big = bytes(range(256)) * 4096
    assert heard(line, big) == big
    assert not proxy.struck
    assert proxy.connections == 1


def test_latency_delays_each_way_and_does_not_stop_the_flow(proxy: Proxy, line: socket.socket) -> None:
    proxy.spoil(up=Way(latency_s=0.1), down=Way(latency_s=0.1, jitter_s=0.05))
    big = bytes(2_000_000)
    began_at = time.monotonic()
    assert heard(line, big) == big
    took_s = time.monotonic() - began_at
    assert 0.2 <= took_s <= 3.0, "a latency is not a bandwidth"
    assert proxy.struck["delayed"] > 0


def test_a_throttled_line_takes_as_long_as_its_bandwidth_says(proxy: Proxy, line: socket.socket) -> None:
    proxy.spoil(down=Way(bytes_per_s=100_000))
    began_at = time.monotonic()
    assert len(heard(line, bytes(50_000))) == 50_000
    assert time.monotonic() - began_at >= 0.4
    assert proxy.struck["throttled"] > 0


def test_slices_arrive_one_by_one_and_whole(proxy: Proxy, line: socket.socket) -> None:
    proxy.spoil(down=Way(slice_bytes=7))
    line.sendall(b"0123456789" * 10)
    assert len(line.recv(65536)) < 100, "the first slice comes alone"
    assert proxy.struck["sliced"] == 1


def test_a_truncated_connection_ends_politely_after_so_many_bytes(proxy: Proxy, line: socket.socket) -> None:
    proxy.spoil(down=Way(truncate_after=1000))
    assert heard(line, bytes(600)) == bytes(600)
    assert heard(line, bytes(600)) == bytes(400)
    assert proxy.struck["truncated"] == 1


def test_a_cut_resets_what_is_open_and_lets_new_ones_in(proxy: Proxy, line: socket.socket) -> None:
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    with socket.create_connection((LOOPBACK, proxy.port)) as again:
        assert heard(again, b"back") == b"back"
    assert proxy.struck["cut"] == 1


def test_a_refusal_is_for_new_connections(proxy: Proxy, line: socket.socket) -> None:
    proxy.spoil(refuse=True)
    assert heard(line, b"still") == b"still"
    assert is_reset_at_once(proxy)
    assert proxy.struck["refused"] == 1


@pytest.mark.parametrize("ways", [{"up": HOLE}, {"down": HOLE}, {"up": HOLE, "down": HOLE}], ids="+".join)
def test_a_hole_swallows_without_a_word_and_its_gap_never_goes_on(
    proxy: Proxy, line: socket.socket, ways: dict[str, Way]
) -> None:
    proxy.spoil(**ways)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        heard(line, b"anyone?", within_s=0.2)
    assert proxy.struck["swallowed"] > 0
    assert not proxy.struck["cut"]
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    with socket.create_connection((LOOPBACK, proxy.port)) as again:
        assert heard(again, b"back") == b"back"


def test_a_connection_that_was_quiet_in_a_hole_lives_on(proxy: Proxy, line: socket.socket) -> None:
    proxy.partition()
    proxy.heal()
    assert heard(line, b"nothing was lost") == b"nothing was lost"


def test_a_server_that_is_away_resets_its_callers() -> None:
    with Proxy(free_ports(1)[0]) as proxy:
        assert is_reset_at_once(proxy)
