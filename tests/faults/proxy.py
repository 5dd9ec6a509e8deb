"""A TCP proxy in this process, between ours and Redis or S3, that can spoil the line while everything runs.

::

    with Proxy(6379) as proxy:
        proxy.spoil(down=HOLE)  # requests arrive, answers do not
        ...
        assert proxy.struck["swallowed"]     # the fault struck
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

LOOPBACK = "127.0.0.1"
#: Bytes read at a time.
CHUNK_BYTES = 1 << 16
#: Pause between slices, so that the kernel does not put them together again (seconds).
SLICE_GAP_S = 0.0005
#: Chunks that may be on their way in one direction; then whoever sends has to wait, as on a real line. Small, so that
#: a sender on a throttled line is not done long before its bytes have arrived.
CHUNKS_ON_THE_WAY = 4
#: Bytes that the kernel may hold of what a client sends.
RECEIVE_BUFFER_BYTES = 1 << 17
#: Longest wait for the proxy's own thread (seconds).
PATIENCE_S = 10.0

Direction = Literal["up", "down"]
Struck = Literal["refused", "cut", "swallowed", "delayed", "throttled", "sliced", "truncated"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How bytes travel in one direction; as it stands here: unharmed."""

    latency_s: float = 0.0
    jitter_s: float = 0.0  #: up to so much more; the order of bytes stays
    bytes_per_s: float | None = None
    slice_bytes: int | None = None  #: longest piece that is sent at once
    truncate_after: int | None = None  #: bytes of each connection, from now on; then both its ends are closed politely
    is_hole: bool = False  #: nothing arrives and nobody is told, as behind a dead switch


UNHARMED = Way()
HOLE = Way(is_hole=True)


@dataclass(eq=False, slots=True)
class _Link:
    """One connection: the client's end and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    #: Something of it was swallowed, so it can only ever be a hole, or be reset.
    lost: set[Direction] = field(default_factory=set)

    def close(self, *, politely: bool = True) -> None:
        for writer in (self.client, self.server):
            _close(writer) if politely else _reset(writer)


class Proxy:
    """Listens on a free port of loopback, passes on to ``port``. Its faults may be changed from any thread."""

    def __init__(self, port: int, *, host: str = LOOPBACK, seed: int = 0) -> None:
        self._upstream = (host, port)
        self._ways: dict[Direction, Way] = {"up": UNHARMED, "down": UNHARMED}
        self._is_refusing = False
        self._links: set[_Link] = set()
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.port = 0
        self.connections = 0  #: that came, refused ones too
        self.struck: Counter[Struck] = Counter()  #: how often each fault really happened to somebody

    # -- from any thread

    def __enter__(self) -> Self:
        self._thread.start()
        listener = socket.create_server((LOOPBACK, 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.port = listener.getsockname()[1]
        self._server = self._ask(asyncio.start_server(self._serve, sock=listener))
        return self

    def __exit__(self, *_: object) -> None:
        self._ask(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def spoil(self, *, up: Way = UNHARMED, down: Way = UNHARMED, refuse: bool = False) -> None:
        """From now on, also on connections that are open: ``up`` is to the server, ``down`` from it.

        ``refuse``: new connections are reset at once. Whoever lost bytes to a hole that ends here is reset as well,
        since a stream with a gap must not go on.
        """
        self._ask(self._spoil({"up": up, "down": down}, refuse=refuse))

    def partition(self) -> None:
        """Nothing passes in either direction, and nobody is told."""
        self.spoil(up=HOLE, down=HOLE)

    def heal(self) -> None:
        """All is well again."""
        self.spoil()

    def cut(self) -> int:
        """Reset the connections that are open now; how many there were. New ones are welcome."""
        return self._ask(self._cut(self._links))

    def _ask(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE_S)

    # -- in the proxy's own thread

    async def _spoil(self, ways: dict[Direction, Way], *, refuse: bool) -> None:
        self._ways, self._is_refusing = ways, refuse
        healed = {direction for direction, way in ways.items() if not way.is_hole}
        await self._cut({link for link in self._links if link.lost & healed})

    async def _cut(self, links: set[_Link]) -> int:
        struck = [link for link in links if link in self._links]
        self.struck["cut"] += len(struck)
        for link in struck:
            self._links.discard(link)
            link.close(politely=False)
        return len(struck)

    async def _stop(self) -> None:
        self._server.close()
        for link in self._links:
            link.close(politely=False)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self._is_refusing:
                self.struck["refused"] += 1
                raise ConnectionRefusedError
            answers, server = await asyncio.open_connection(*self._upstream)
        except OSError:
            _reset(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        # At the end of the test; asyncio would log the cancellation of a server's task as an error.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._pump(link, "up", reader, server), self._pump(link, "down", answers, client))
        if not link.lost:
            self._links.discard(link)
            link.close()

    async def _pump(
        self, link: _Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Everything that comes on one side goes out on the other, as far as the fault of the day lets it."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY)
        sender = asyncio.create_task(self._send(link, direction, line, writer))
        due, data = 0.0, b"?"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""  # a reset: the other side sees an end
            way = self._ways[direction]
            due = max(due, self._loop.time() + way.latency_s + self._random.random() * way.jitter_s)
            await line.put((due, data))
        await sender

    async def _send(
        self, link: _Link, direction: Direction, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        last, sent = self._ways[direction], 0
        while True:
            due, data = await line.get()
            if (wait_s := due - self._loop.time()) > 0:
                self.struck["delayed"] += 1
                await asyncio.sleep(wait_s)
            way = self._ways[direction]
            last, sent = way, (sent if way is last else 0)
            if way.is_hole or direction in link.lost:
                self.struck["swallowed"] += 1
                link.lost.add(direction)
                if data:
                    continue
                return
            if way.truncate_after is not None and sent + len(data) > way.truncate_after:
                self.struck["truncated"] += 1
                with suppress(OSError):
                    await self._write(writer, data[: way.truncate_after - sent], way)
                link.close()
                return
            sent += len(data)
            with suppress(OSError):
                await self._write(writer, data, way)
            if not data:
                return

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, way: Way) -> None:
        """An empty ``data`` is the end of the stream."""
        if not data:
            if not writer.is_closing():
                writer.write_eof()
            return
        step = way.slice_bytes or CHUNK_BYTES
        if way.bytes_per_s:  # a tenth of a second at a time
            step = min(step, max(1, int(way.bytes_per_s / 10)))
            self.struck["throttled"] += 1
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        if way.slice_bytes and len(pieces) > 1:
            self.struck["sliced"] += 1
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(len(piece) / way.bytes_per_s if way.bytes_per_s else SLICE_GAP_S * (len(pieces) > 1))


def _close(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """The peer gets a reset (RST), not an end (FIN)."""
    linger_at_once = struct.pack("ii", 1, 0)
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_at_once)
    writer.transport.abort()
