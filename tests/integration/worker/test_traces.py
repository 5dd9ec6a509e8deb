"""One trace from the call through workers to the callback, by real processes and over OTLP."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.model import JobId
from jobs.settings import JobsSettings
from jobs.states import JobState
from tests.collector import Collector, Told, collecting
from tests.conftest import CALLBACK_SECRET, SIGNING_SECRET
from tests.fleet import LEASE_S, Fleet, wait_for

pytestmark = pytest.mark.slow

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ["claim", "fetch", "decode", "restore", "encode", "store", "commit"]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A receiver with a secret in its address, that refuses the first delivery; and the headers that it heard."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            heard.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(503 if len(heard) == 1 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/secret-path?token=secret-query", heard
    server.shutdown()
    server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _api(fleet: Fleet) -> str:
    port = _port()
    fleet.command("api", [sys.executable, "-m", "photomend", "api", "--port", str(port)])
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{base}/livez").is_success
        except httpx.TransportError:
            return False

    wait_for(answers, what="the API answers")
    return base


def _submit(base: str, ref: Any, *, work_s: float, traceparent: str | None = None, **words: Any) -> JobId:
    headers = {"tracestate": "vendor=1"} | ({"traceparent": traceparent} if traceparent else {})
    body = {"input": ref.uri, "options": {"seed": int(work_s * 1000)}} | words
    answer = httpx.post(f"{base}/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["id"])


@pytest.mark.timeout(120)
def test_a_job_is_one_trace_from_its_call_to_its_callback_through_a_killed_worker(
    jobs_settings: JobsSettings, tmp_path: Path, collector: Collector, hook: tuple[str, list[dict[str, str]]]
) -> None:
    url, heard = hook
    settings = jobs_settings.model_copy(
        update={"lease_s": LEASE_S, "resend_after_s": 0.5, "callback_allow_hosts": (url.split("/")[2],)}
    )
    env = {"PHOTOMEND_CALLBACK_SCHEDULE_S": "[0.2, 0.2]", "PHOTOMEND_SWEEP_EVERY_S": "0.3"}
    fleet = Fleet(settings, tmp_path, **collector.environment(), **env)
    try:
        fleet.keeper()
        workers = dict(zip(("one", "two"), fleet.start_workers("one", "two"), strict=True))
        base = _api(fleet)
        wait_for(lambda: all(fleet.slots_of(one) for one in workers.values()), what="the workers are ready")

        # One that the caller traces already, under whose worker the process dies.
        ref = fleet.upload(key="in/a-private-name.png")
        told = {"callback": {"url": url}}
        job_id = _submit(base, ref, work_s=2, traceparent=f"00-{TRACE}-{SPAN}-01", **told)
        pid = fleet.running(job_id)["pid"]
        wait_for(lambda: collector.about(job_id, name="decode"), what="stages of the first attempt arrive")
        next(one for one in workers.values() if one.pid == pid).send_signal(signal.SIGKILL)
        # And one that nobody traces, that fails.
        alone = _submit(base, fleet.upload(b"no picture", key="in/broken.png"), work_s=0, traceparent="00-nonsense")
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        assert fleet.ended(alone).state is JobState.FAILED
        wait_for(lambda: len(collector.about(job_id, name="deliver callback")) == 2, what="both deliveries arrive")
        wait_for(lambda: collector.about(alone, name="process restore.interactive"), what="the failed attempt arrives")

        _check_whole(collector, job_id, heard)
        _check_failed(collector, alone)
        _check_quiet(collector, fleet)
        survivor = next(name for name, one in workers.items() if one.pid != pid)
        worker_log = [line for line in fleet.log(survivor).splitlines() if job_id in line and "succeeded" in line]
        assert TRACE in worker_log[0]
        assert f'"trace_id": "{TRACE}"' in fleet.log("api")
        assert f'"trace_id": "{TRACE}"' in fleet.log("keeper")
    finally:
        fleet.close()


def _check_whole(collector: Collector, job_id: JobId, heard: list[dict[str, str]]) -> None:
    (call,) = collector.of(TRACE, name="POST /v1/jobs")
    assert (call.service, call.kind, call.parent_id) == ("photomend-api", "server", SPAN)
    assert call.facts["http.response.status_code"] == 202
    assert call.facts["photomend.job.id"] == job_id

    (attempt,) = collector.of(TRACE, name="process restore.interactive")
    assert (attempt.service, attempt.kind, attempt.parent_id) == ("photomend-worker", "consumer", call.span_id)
    assert (attempt.facts["photomend.attempt"], attempt.facts["photomend.epoch"]) == (2, 2)
    assert attempt.facts["photomend.outcome"] == "succeeded"
    assert attempt.facts["photomend.model"] == "slow-resize"
    stages = [span for span in collector.of(TRACE) if span.parent_id == attempt.span_id]
    assert [span.name for span in stages] == STAGES
    assert all(attempt.begin <= span.begin <= span.end <= attempt.end for span in stages)
    assert next(span for span in stages if span.name == "restore").end - attempt.begin > 1.9

    # The first one died: its own span is lost, what it had done before is there, under the same trace.
    lost = [span for span in collector.about(job_id, name="decode") if span.facts["photomend.attempt"] == 1]
    assert [span.trace_id for span in lost] == [TRACE]
    assert lost[0].parent_id not in {span.span_id for span in collector.spans}
    (wait,) = collector.of(TRACE, name="wait restore.interactive")
    assert (wait.parent_id, wait.facts["photomend.attempt"]) == (call.span_id, 1)

    deliveries = collector.of(TRACE, name="deliver callback")
    assert [span.facts["http.response.status_code"] for span in deliveries] == [503, 200]
    assert [span.facts["photomend.attempt"] for span in deliveries] == [1, 2]
    assert [span.is_error for span in deliveries] == [True, False]
    assert {(s.service, s.kind, s.parent_id) for s in deliveries} == {("photomend-keeper", "client", call.span_id)}
    assert [headers["traceparent"][:-3] for headers in heard] == [span.traceparent for span in deliveries]
    assert {headers["tracestate"] for headers in heard} == {"vendor=1"}


def _check_failed(collector: Collector, job_id: JobId) -> None:
    (call,) = collector.about(job_id, name="POST /v1/jobs")
    (attempt,) = collector.about(job_id, name="process restore.interactive")
    assert call.parent_id == "", "nonsense is no parent"
    assert (attempt.trace_id, attempt.parent_id) == (call.trace_id, call.span_id)
    assert attempt.facts["photomend.outcome"] == "failed"
    assert attempt.facts["error.type"] == "image_unreadable"
    stages: list[Told] = [span for span in collector.of(call.trace_id) if span.parent_id == attempt.span_id]
    assert [(span.name, span.is_error) for span in stages][-1] == ("decode", True)


def _check_quiet(collector: Collector, fleet: Fleet) -> None:
    """No secret, and nothing of a stranger's, went out."""
    everything = b"".join(collector.bodies)
    settings = fleet.settings
    secrets = [CALLBACK_SECRET, SIGNING_SECRET, "secret-path", "secret-query", "a-private-name", "X-Amz", "webhook-"]
    assert settings.s3_secret_access_key is not None
    for secret in (*secrets, settings.s3_secret_access_key.get_secret_value()):
        assert secret.encode() not in everything, secret


@pytest.mark.timeout(90)
def test_where_the_collector_is_down_jobs_are_done_and_processes_leave_in_time(
    jobs_settings: JobsSettings, tmp_path: Path
) -> None:
    dead = {"PHOTOMEND_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{_port()}"}
    fleet = Fleet(jobs_settings, tmp_path, **dead, PHOTOMEND_DRAIN_S="10")
    try:
        keeper = fleet.keeper()
        worker = fleet.worker()
        ref = fleet.upload()
        assert {fleet.ended(job).state for job in [fleet.submit(ref) for _ in range(5)]} == {JobState.SUCCEEDED}
        began = time.monotonic()
        for process in (worker, keeper):
            process.send_signal(signal.SIGTERM)
        assert (worker.wait(20), keeper.wait(20)) == (0, 0)
        assert time.monotonic() - began < 12
        for name in ("w", "keeper"):
            assert "Traceback" not in fleet.log(name)
    finally:
        fleet.close()
