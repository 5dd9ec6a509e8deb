"""How fast one API process takes jobs: ``make load``. Writes ``build/load/latest.json``; prints a table.

A Redis of our own (append-only file on) and three servers, asked in turn under the same load by this process, all on
the same machine: the API on loopback, where no key is needed; another process of it that wants a key, knows its tenant
and counts its rate; and an endpoint that does nothing. Other work on the machine slows all of them, so the ratios and
the processor time of a call say more than the milliseconds.

Open loop: each call has its intended start, at fixed distances, and its latency counts from there, also when the call
before it was late, so that a stall is not hidden by the calls that it keeps from being made ("coordinated omission").
Closed loop: the highest rate is measured with as many calls in flight as there are connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr

from jobs.model import Tenant, TenantId
from jobs.settings import JobsSettings
from jobs.store import JobStore
from photomend.stack.ports import free_ports
from photomend.stack.redis import RedisServer
from tests.bench.readme import README, with_figures

OUT = Path("build") / "load" / "latest.json"
CONNECTIONS = 32
RATES = (100, 250, 500)
#: What one API process should do: so many submits a second, and at half of that p99 below so many ms.
AIM_PER_S, AIM_P99_MS = 500, 30
#: Nothing listens there: a submit that asked the storage would fail.
NO_STORAGE = "http://127.0.0.1:9"
SECRET = "load-only-not-a-real-secret-0123456789abcdef"
BODY = json.dumps({"input": "s3://photos/1923/wedding.tif", "options": {"scale": 2}, "metadata": {"order": "4711"}})

_NOOP = """
import sys, uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
app = FastAPI()
@app.post("/v1/jobs")
async def nothing(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"status": "queued"}, status_code=202)
uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
"""


class Connection:
    """One kept connection that can say one thing: submit."""

    def __init__(self, port: int, key: str | None) -> None:
        self._port = port
        shown = f"Authorization: Bearer {key}\r\n" if key else ""
        head = (
            f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"{shown}Content-Length: {len(BODY)}\r\n\r\n"
        )
        self._request = (head + BODY).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def submit(self) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b" 202 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"not accepted: {head[:40]!r} {body[:200]!r}")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


@dataclass(slots=True, kw_only=True)
class Server:
    """One server under load, and what was measured of it."""

    name: str
    port: int
    pid: int
    key: str | None = None
    latencies: dict[int, list[float]] = field(default_factory=dict)  #: by rate; s
    highest: list[float] = field(default_factory=list)  #: calls a second
    cpu_s: float = 0.0  #: of its process, in ``calls``
    calls: int = 0

    def pool(self) -> list[Connection]:
        return [Connection(self.port, self.key) for _ in range(CONNECTIONS)]

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Count the processor time that the server takes meanwhile."""
        before = cpu_s_of(self.pid)
        yield
        self.cpu_s += cpu_s_of(self.pid) - before


def cpu_s_of(pid: int) -> float:
    """Seconds of processor time that a process and its threads have taken (proc(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def at_rate(server: Server, rate: float, seconds: float) -> list[float]:
    """Latencies in s, from each call's intended start, of calls that begin ``rate`` times a second."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    pool = server.pool()
    for connection in pool:
        await connection.submit()
        free.put_nowait(connection)
    clock = time.perf_counter
    latencies: list[float] = []

    async def call(intended: float) -> None:
        connection = await free.get()
        await connection.submit()
        latencies.append(clock() - intended)
        free.put_nowait(connection)

    with server.accounted():
        began = clock() + 0.05
        async with asyncio.TaskGroup() as calls:
            for number in range(int(rate * seconds)):
                intended = began + number / rate
                if (early := intended - clock()) > 0:
                    await asyncio.sleep(early)
                calls.create_task(call(intended))
    for connection in pool:
        connection.close()
    return latencies


async def highest_rate(server: Server, seconds: float) -> tuple[int, float]:
    """How many calls were made in how many seconds, with every connection always busy."""
    pool = server.pool()
    over, done = time.perf_counter() + seconds, 0

    async def busy(connection: Connection) -> None:
        nonlocal done
        while time.perf_counter() < over:
            await connection.submit()
            done += 1

    began = time.perf_counter()
    with server.accounted():
        await asyncio.gather(*map(busy, pool))
    took = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return done, took


def quantile_ms(latencies: list[float], share: float) -> float:
    ordered = sorted(latencies)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


@contextmanager
def serving(words: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A server that answers; gives its process id."""
    process = subprocess.Popen(words, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_until_up(port))
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


async def _until_up(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError("the server does not answer")


def measure(seconds: float, rounds: int) -> dict[str, Any]:
    """All servers in turn, ``rounds`` times."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        redis = RedisServer(Path(folder))
        redis.start()
        stack.callback(redis.stop)
        return _rounds(_servers(redis.url, stack), seconds, rounds)


def _servers(redis_url: str, stack: ExitStack) -> list[Server]:
    ports = free_ports(3)
    everywhere = {
        "PHOTOMEND_REDIS_URL": redis_url,
        "PHOTOMEND_S3_ENDPOINT_URL": NO_STORAGE,
        "PHOTOMEND_SIGNING_SECRET": SECRET,
        "PHOTOMEND_MAX_WAITING_JOBS": "100000000",
    }
    with_keys = {
        "PHOTOMEND_API_KEYS_REQUIRED": "1",
        # Counted, and never reached.
        "PHOTOMEND_KEY_REQUESTS_PER_MIN": "100000000",
        "PHOTOMEND_TENANT_REQUESTS_PER_MIN": "100000000",
    }
    key = _key(redis_url)
    api = [sys.executable, "-m", "photomend", "api", "--port"]
    plans: list[tuple[str, list[str], dict[str, str], str | None]] = [
        ("submit", api, everywhere, None),
        ("submit_with_key", api, everywhere | with_keys, key),
        ("noop", [sys.executable, "-c", _NOOP], {}, None),
    ]
    return [
        Server(
            name=name, port=port, key=shown, pid=stack.enter_context(serving([*words, str(port)], port, environment))
        )
        for port, (name, words, environment, shown) in zip(ports, plans, strict=True)
    ]


def _key(redis_url: str) -> str:
    store = JobStore.connect(JobsSettings(redis_url=redis_url, signing_secret=SecretStr(SECRET)))
    tenant = TenantId("load")
    store.set_tenant(Tenant(id=tenant, inputs=("photos",)))
    key, _ = store.keys.create(tenant)
    store.close()
    return key


def _rounds(servers: list[Server], seconds: float, rounds: int) -> dict[str, Any]:
    import uvloop

    run: Callable[[Any], Any] = uvloop.run
    for server in servers:
        run(highest_rate(server, 1.0))
        server.cpu_s = 0.0
    for _ in range(rounds):
        for rate in RATES:
            for server in servers:
                found = run(at_rate(server, rate, seconds))
                server.latencies.setdefault(rate, []).extend(found)
                server.calls += len(found)
        for server in servers:
            done, took = run(highest_rate(server, seconds))
            server.highest.append(done / took)
            server.calls += done
    return {server.name: _told(server) for server in servers} | {
        "aim": {"highest_per_s": AIM_PER_S, "p99_ms": AIM_P99_MS, "p99_at_per_s": AIM_PER_S // 2},
        "connections": CONNECTIONS, "seconds": seconds, "rounds": rounds, "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0], "python": platform.python_version(), "body_bytes": len(BODY),
    }  # fmt: skip


def _told(server: Server) -> dict[str, Any]:
    return {
        "highest_per_s": [round(rate) for rate in server.highest],
        "cpu_ms_per_call": round(1000 * server.cpu_s / server.calls, 3),
        "at": {
            str(rate): {
                "calls": len(found),
                **{f"p{100 * share:g}_ms": quantile_ms(found, share) for share in (0.5, 0.99)},
            }
            for rate, found in server.latencies.items()
        },
    }


#: What the servers are called in the table.
_TITLES = {
    "submit": "submit by `s3://` URI",
    "submit_with_key": "the same with a key: who, what for, how often",
    "noop": "an endpoint that does nothing",
}


def table(told: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rates = " | ".join(f"p50 · p99 at {rate}/s" for rate in RATES)
    lines = [f"| one API process | most a second | {rates} | CPU a call |", "|---|---|" + "---|" * (len(RATES) + 1)]
    for name, title in _TITLES.items():
        row = told[name]
        waits = " | ".join(f"{at['p50_ms']:.1f} · {at['p99_ms']:.1f} ms" for at in row["at"].values())
        lines.append(f"| {title} | {max(row['highest_per_s']):,} | {waits} | {row['cpu_ms_per_call']:.2f} ms |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readme", action="store_true", help="write the figures into README.md too")
    chosen = parser.parse_args()
    told = measure(chosen.seconds, chosen.rounds)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(told, indent=2) + "\n")
    sys.stdout.write(f"{table(told)}\n(load average {told['load_average']:.1f}; {OUT})\n")
    if chosen.readme:
        README.write_text(with_figures(README.read_text(), table(told), name="load"))


if __name__ == "__main__":
    main()
