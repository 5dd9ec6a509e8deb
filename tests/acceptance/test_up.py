"""``photomend up`` as a user runs it: starts, does a job, stops in order, keeps its data, names what died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from photomend.client import Client
from photomend.demo.picture import old_photo
from photomend.stack.ports import free_ports
from tests.acceptance.test_demo import processes_about

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def command(data: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "photomend", "up", "--data", str(data), "--port", str(port), "--threads", "1"]


def environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def refused(data: Path, port: int) -> subprocess.CompletedProcess[str]:
    """``photomend up`` where it ends by itself."""
    words = command(data, port)
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment())


@contextmanager
def running(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``photomend up``, once it says that it is up; killed at the end if it still runs."""
    log = data.with_suffix(".log")
    # As a shell starts a background command: with SIGINT ignored. It must stop by it all the same.
    words = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command(data, port)]
    with (
        log.open("w") as sink,
        subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT, env=environment()) as process,
    ):
        try:
            give_up_at = time.monotonic() + 150
            while "photomend is up" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < give_up_at, log.read_text()
                time.sleep(0.2)
            yield process
        finally:
            process.kill()


def test_it_does_a_job_stops_in_order_and_has_its_data_at_the_next_start(tmp_path):
    data, photo = tmp_path / "stack", tmp_path / "old.png"
    photo.write_bytes(old_photo())
    first_port, second_port = free_ports(2)

    with running(data, first_port) as process:
        with Client(f"http://127.0.0.1:{first_port}") as client:
            job = client.submit(photo, options={"scale": 1, "outputs": ["image"]})
            assert len(client.wait(job.id, timeout_s=120).faces) == 1
        other = refused(data, second_port)
        assert other.returncode == 1
        assert "another photomend is running" in other.stderr.lower()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "Stopped." in data.with_suffix(".log").read_text()
    assert processes_about(data) == []

    with running(data, second_port) as process:
        with Client(f"http://127.0.0.1:{second_port}") as client:
            assert client.get(job.id).status == "succeeded"
            client.download(job.id, to=tmp_path / "mended.png")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert (tmp_path / "mended.png").read_bytes().startswith(b"\x89PNG")
    assert processes_about(data) == []


def test_a_process_that_dies_is_named_and_everything_else_is_stopped(tmp_path):
    data = tmp_path / "stack"
    (port,) = free_ports(1)
    with running(data, port) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (api,) = [pid for pid in children if b"\0api\0" in Path(f"/proc/{pid}/cmdline").read_bytes() + b"\0"]
        os.kill(int(api), signal.SIGKILL)
        assert process.wait(timeout=60) == 1
    said = data.with_suffix(".log").read_text()
    assert "The api ended by itself with status -9" in said
    assert "Uvicorn running" in said, "its last words are shown"
    assert processes_about(data) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/livez")


def test_a_port_that_is_taken_is_said_so_and_nothing_is_left(tmp_path, redis_server):
    data = tmp_path / "stack"
    done = refused(data, redis_server.port)
    assert done.returncode == 1
    assert f"port {redis_server.port} is in use" in done.stderr.lower()
    assert processes_about(data) == []
