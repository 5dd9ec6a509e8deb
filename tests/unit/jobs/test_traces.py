"""Traces: nothing where nobody asks for them, OpenTelemetry behind one port where somebody does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import structlog

from jobs import traces
from jobs.checks import Verdict, of_settings
from jobs.codec import form_of, job_from_record, spec_to_json
from jobs.errors import NotSetUp
from jobs.model import LOCAL_TENANT, Job, ObjectRef, new_job_id
from jobs.settings import JobsSettings
from jobs.startup import require_safe
from jobs.store import JobStore
from jobs.trace_context import TraceContext, current_trace
from jobs.traces import NO_SPAN, UNTRACED, SpanKind, Traces, make_traces, spanning
from tests.collector import Collector, collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
ON = JobsSettings(traces=True)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        for name, value in found.environment().items():
            if name.startswith("OTEL_"):
                monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def sent(collector: Collector) -> Iterator[Traces]:
    made = make_traces(ON, component="api", instance="here")
    yield made
    made.close()


# -- off


def test_nothing_is_imported_or_told_where_nobody_asks_for_traces() -> None:
    script = (
        "import sys, api.__main__, worker.keeper, worker.consumer\n"
        "from jobs.settings import JobsSettings\n"
        "from jobs.traces import UNTRACED, make_traces\n"
        "assert make_traces(JobsSettings(), component='api') is UNTRACED\n"
        # The Redis client looks by itself whether there is an SDK for its metrics.
        "ours = ('jobs.otel', 'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf', 'requests')\n"
        "print([name for name in ours if name in sys.modules])\n"
        "import threading; print([t.name for t in threading.enumerate() if 'tel' in t.name])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50)
    assert told.stdout.split() == ["[]", "[]"], told.stdout


def test_a_span_that_nobody_asked_for_leaves_no_trace_in_logs_or_jobs() -> None:
    with spanning(UNTRACED.begin("x")) as span:
        assert span is NO_SPAN
        assert current_trace() is None
        assert "trace_id" not in structlog.contextvars.get_contextvars()
    assert UNTRACED.heard([PARENT], []) is None


def test_traces_without_their_library_stop_a_start_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    # As the interpreter answers for a package that is not installed.
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    for start in (
        lambda: make_traces(ON, component="api"),
        lambda: require_safe(JobStore.connect(ON), ON),
    ):
        with pytest.raises(NotSetUp, match=r"photomend\[otel\]"):
            start()
    assert make_traces(JobsSettings(), component="api") is UNTRACED
    (check,) = [one for one in of_settings(ON, signs_callbacks=False) if one.name == "traces"]
    assert (check.verdict, check.said) == (Verdict.FAILED, traces.MISSING)


# -- what a caller says


def test_a_callers_words_are_taken_as_they_are(sent: Traces) -> None:
    heard = sent.heard([PARENT], ["vendor=1", "other=a b"])
    assert heard == TraceContext(traceparent=PARENT, tracestate="vendor=1,other=a b")
    assert heard.trace_id == TRACE
    assert heard.headers == {"traceparent": PARENT, "tracestate": "vendor=1,other=a b"}


def test_a_newer_versions_words_are_written_on_in_ours(sent: Traces) -> None:
    assert sent.heard([f"cc-{TRACE}-{SPAN}-01-what-comes-next"], []) == TraceContext(traceparent=PARENT)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["00"],
        [PARENT, PARENT],
        [PARENT.upper()],
        [f"{PARENT}-more"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[1:]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-0g"],
        [f"{PARENT}\r\nx: y"],
        ["00-" + "a" * 100_000],
    ],
    ids=lambda words: (words[0][:40] if words else "none") + f" x{len(words)}",
)
def test_a_callers_nonsense_is_ignored(sent: Traces, words: list[str]) -> None:
    assert sent.heard(words, ["vendor=1"]) is None


@pytest.mark.parametrize(
    "state", ["no equals sign", "a=1,a=2", "a=" + "x" * 600, ",".join(f"k{n}=1" for n in range(40))]
)
def test_a_state_that_is_none_costs_the_caller_the_state_alone(sent: Traces, state: str) -> None:
    assert sent.heard([PARENT], [state]) == TraceContext(traceparent=PARENT)


# -- what a record carries


def _job(trace: TraceContext | None) -> Job:
    return Job(id=new_job_id(), tenant=LOCAL_TENANT, input=ObjectRef(bucket="photos", key="a.jpg"), trace=trace)


def _read(job: Job, spec: str) -> Job:
    record = {
        "v": "1",
        "spec": spec,
        "tenant": "local",
        "lane": "interactive",
        "state": "queued",
        "seq": "1",
        "rev": "1",
    }
    return job_from_record(job.id, record)


@pytest.mark.parametrize(
    "trace", [None, TraceContext(traceparent=PARENT), TraceContext(traceparent=PARENT, tracestate="vendor=1")]
)
def test_a_record_carries_the_trace_and_stays_of_the_oldest_form(trace: TraceContext | None) -> None:
    job = _job(trace)
    assert _read(job, spec_to_json(job)).trace == trace
    assert form_of(job) == 1
    if trace is None:
        assert "trace" not in json.loads(spec_to_json(job))


# -- what is sent


def test_spans_arrive_with_their_names_parents_links_and_facts(sent: Traces, collector: Collector) -> None:
    parent = sent.heard([PARENT], [])
    with spanning(sent.begin("POST", kind=SpanKind.SERVER, parent=parent, facts={"a": 1, "left out": None})) as span:
        assert current_trace() == span.context
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE
        assert parent is not None
        child = sent.begin("inside", parent=current_trace(), links=[parent], at=time.time() - 5)
        child.event("something", {"cause": "x"})
        child.failed("first")
        child.failed("second")
        child.end()
        span.note({"b": "c"}, name="POST /v1/jobs")
    assert current_trace() is None
    root = sent.begin("alone")
    root.end()
    sent.close()

    told = {span.name: span for span in collector.spans}
    server, inside = told["POST /v1/jobs"], told["inside"]
    assert (server.service, server.kind, server.trace_id, server.parent_id) == ("photomend-api", "server", TRACE, SPAN)
    assert server.facts == {"a": 1, "b": "c"}
    assert inside.parent_id == server.span_id
    assert inside.links == ((TRACE, SPAN),)
    assert inside.events == (("something", {"cause": "x"}),)
    assert inside.is_error
    assert inside.facts["error.type"] == "first"
    assert 4.9 < inside.end - inside.begin < 8
    assert not server.is_error
    assert told["alone"].parent_id == ""
    assert told["alone"].trace_id != TRACE


def test_what_goes_wrong_inside_a_span_is_its_failure(sent: Traces, collector: Collector) -> None:
    def fail() -> None:
        with spanning(sent.begin("wrong")):
            raise KeyError("with whatever text a stranger put there")

    with pytest.raises(KeyError):
        fail()
    sent.close()
    assert collector.spans[0].is_error
    assert collector.spans[0].facts == {"error.type": "KeyError"}
    assert collector.spans[0].events == ()
    assert b"stranger" not in collector.bodies[0]


def test_the_operators_own_environment_decides(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    made = make_traces(ON, component="worker")
    span = made.begin("x", parent=made.heard([PARENT], []))
    assert span.context is not None
    assert span.context.traceparent.endswith("-00"), "those after it hear that nobody keeps it"
    span.end()
    made.close()
    assert collector.spans == []

    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    made = make_traces(ON, component="worker")
    made.begin("x").end()
    made.close()
    assert [span.service for span in collector.spans] == ["pictures"]


def test_a_collector_that_never_answers_slows_nothing_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
        made = make_traces(ON, component="api")
        began = time.monotonic()
        for _ in range(1000):
            made.begin("x").end()
        assert time.monotonic() - began < 2
        made.close(timeout_s=0.3)
        assert time.monotonic() - began < 4


def test_a_doctor_says_whether_spans_would_arrive(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(settings: JobsSettings) -> list[Verdict]:
        return [one.verdict for one in of_settings(settings, signs_callbacks=False) if one.name == "traces"]

    assert said(JobsSettings()) == []
    assert said(ON) == [Verdict.OK]
    assert collector.bodies == [b""]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert said(ON) == [Verdict.WARNING]


def test_the_sentence_names_the_setting_and_the_extra() -> None:
    assert "PHOTOMEND_TRACES" in traces.MISSING
    assert os.linesep not in traces.MISSING
