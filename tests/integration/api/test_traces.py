"""What calls tell as spans, and the traces that jobs and batches take along from them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from api.app import create_app
from jobs.batches.model import BatchId
from jobs.model import Job, JobId
from jobs.settings import JobsSettings
from jobs.traces import Traces, make_traces
from tests.collector import Collector, Told, collecting
from tests.doubles import MemoryBlobs
from tests.integration.api.conftest import Service, make_settings
from tests.integration.jobs.batch_world import World

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


@pytest.fixture
def traces(collector: Collector) -> Iterator[Traces]:
    made = make_traces(JobsSettings(traces=True), component="api")
    yield made
    made.close()


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def service(redis_settings: JobsSettings, blobs: MemoryBlobs, traces: Traces) -> Iterator[Service]:
    made = Service(make_settings(redis_settings), blobs=blobs)  # type: ignore[arg-type]
    made.app = create_app(made.store, made.blobs, made.settings, traces)
    yield made
    made.store.close()


def spans(traces: Traces, collector: Collector) -> list[Told]:
    traces.close()
    return sorted(collector.spans, key=lambda span: span.begin)


def test_a_job_takes_the_trace_of_its_call_along_and_a_repeat_keeps_the_first(
    service: Service, traces: Traces, collector: Collector
) -> None:
    words = {"json": {"input": "s3://photos/a-private-name.jpg", "metadata": {"who": "somebody"}}}
    first = service.call("POST", "/v1/jobs", headers=CALLER | {"Idempotency-Key": "k"}, **words).json()
    again = service.call("POST", "/v1/jobs", headers={"Idempotency-Key": "k"}, **words).json()
    assert first["id"] == again["id"]
    assert "trace" not in json.dumps(first)
    job = service.store.get_genuine(JobId(first["id"]))

    call, repeat = spans(traces, collector)
    assert (call.name, call.kind, call.trace_id, call.parent_id) == ("POST /v1/jobs", "server", TRACE, SPAN)
    assert call.facts.pop("photomend.request.id").startswith("req_")
    assert call.facts == {
        "http.request.method": "POST",
        "http.route": "/v1/jobs",
        "http.response.status_code": 202,
        "url.scheme": "http",
        "photomend.tenant": "local",
        "photomend.job.id": job.id,
    }
    assert job.trace is not None
    assert (job.trace.traceparent[:-3], job.trace.tracestate) == (call.traceparent, "vendor=1")
    assert repeat.trace_id != TRACE
    assert repeat.facts["photomend.job.id"] == job.id
    everything = b"".join(collector.bodies)
    assert not any(word in everything for word in (b"a-private-name", b"somebody", b'"k"'))


def test_looks_are_not_told_and_a_strangers_words_are_no_span(
    service: Service, traces: Traces, collector: Collector
) -> None:
    assert service.call("GET", "/v1/jobs?status=queued", headers=CALLER).status_code == 200
    assert service.call("GET", "/livez").status_code == 200
    assert service.call("POST", "/elsewhere").status_code == 404
    assert service.call("POST", "/v1/whatever/secret-word?x=secret-word").status_code == 404
    assert service.call("POST", "/v1/jobs/secret-word/cancel").status_code == 404
    (nowhere, nobody) = spans(traces, collector)
    assert (nowhere.name, nobody.name) == ("POST", "POST /v1/jobs/{job_id}/cancel")
    assert not nowhere.is_error, "it is the caller's"
    assert b"secret-word" not in b"".join(collector.bodies)


def test_a_fault_of_ours_is_an_error(
    service: Service, traces: Traces, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.submission.submit_stored", lambda *_, **__: 1 / 0)
    assert service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}).status_code == 500
    (call,) = spans(traces, collector)
    assert call.is_error
    assert (call.facts["error.type"], call.facts["http.response.status_code"]) == ("500", 500)


def test_the_items_of_a_batch_have_traces_of_their_own_linked_to_its_call(
    service: Service, blobs: MemoryBlobs, traces: Traces, collector: Collector
) -> None:
    world = World(service.store, blobs)
    for name in ("a", "b"):
        world.scan(f"in/{name}.tif")
    said = {"prefix": {"uri": "s3://scans/in/"}, "output": "s3://mended/delivery/"}
    answer = service.call("POST", "/v1/batches", json=said, headers=CALLER)
    batch = service.store.batches.get_genuine(BatchId(answer.json()["id"]))
    runner = world.runner(traces=traces)
    try:
        for _ in range(10):
            runner.step()
    finally:
        runner.close()
    taken = service.store.take(credits=9, priority=batch.spec.priority)
    jobs = [service.store.get_genuine(job_id) for job_id in taken]
    assert len(jobs) == 2
    told = spans(traces, collector)
    (call,) = [span for span in told if span.name == "POST /v1/batches"]
    items = {span.facts["photomend.job.id"]: span for span in told if span.name == "create restore.batch"}
    assert call.facts["photomend.batch.id"] == batch.id
    assert (call.trace_id, call.parent_id) == (TRACE, SPAN)
    assert batch.spec.trace is not None
    assert batch.spec.trace.traceparent[:-3] == call.traceparent
    for job in jobs:
        assert isinstance(job, Job)
        assert job.trace is not None
        assert job.trace.traceparent[:-3] == items[job.id].traceparent
        assert items[job.id].links == ((TRACE, call.span_id),)
    assert len({TRACE, *(job.trace.trace_id for job in jobs if job.trace)}) == 3


def test_the_line_of_a_traced_call_names_its_trace_and_its_job(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}, headers=CALLER)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["trace_id"], line["job_id"]) == (TRACE, answer.json()["id"])


def test_the_framework_tells_nothing_by_itself_and_the_last_spans_go_out_when_the_api_ends(
    service: Service, blobs: MemoryBlobs, traces: Traces, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = create_app(service.store, service.blobs, service.settings, traces)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        said = {"input": "s3://photos/a.jpg"}
        assert httpx.post(f"{base}/v1/jobs?x=secret-word", json=said, timeout=20).status_code == 202
        assert httpx.get(f"{base}/v1/jobs?limit=7").status_code == 200
        server.should_exit = True
        thread.join(10)
    assert [span.name for span in collector.spans] == ["POST /v1/jobs"]
    assert len(collector.bodies) == 1
