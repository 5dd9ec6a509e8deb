"""``photomend api`` as a process: it answers, and SIGTERM ends it soon though streams are open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_process_serves_and_ends_open_streams_when_it_is_told_to_stop(redis_url):
    port = free_port()
    settings = {"PHOTOMEND_REDIS_URL": redis_url, "PHOTOMEND_S3_ENDPOINT_URL": "http://127.0.0.1:9"}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "photomend", "api", "--port", str(port)],
        env=os.environ | settings,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(base)
        job = httpx.post(f"{base}/v1/jobs", json={"input": "s3://photos/a.jpg"}).json()
        with httpx.stream("GET", base + job["urls"]["events"], timeout=20) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("data:"))
            began = time.monotonic()
            threading.Timer(0.2, process.send_signal, [signal.SIGTERM]).start()
            assert [line for line in lines if line.startswith("data:")] == []
        process.wait(10)
        assert time.monotonic() - began < 8
    finally:
        process.kill()
        _, log = process.communicate()
    assert process.returncode in {0, -signal.SIGTERM}, log
    assert "Traceback" not in log
    assert '"service": "api"' in log


def wait_for(base: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{base}/livez").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the API does not answer")
