"""What attempts, deliveries and items tell as spans, however they end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.batches.manifest import Prefix
from jobs.batches.model import Batch, BatchEvent, BatchId, BatchSpec, BatchState, job_id
from jobs.errors import ObjectDenied, StorageUnavailable
from jobs.model import LOCAL_TENANT, CallbackEvent, Death, Job, ObjectRef, Priority
from jobs.outbox import Delivery
from jobs.settings import JobsSettings
from jobs.store import Beat
from jobs.trace_context import TraceContext
from jobs.traces import UNTRACED, Traces, make_traces
from pipeline.errors import TruncatedImage
from tests.collector import Collector, Told, collecting
from tests.unit.worker.clock import FakeClock
from tests.unit.worker.test_run import JOB, Bucket, Camera, Record
from worker.lane import Lane
from worker.run import Workplace, run_job
from worker.spans import delivery_span, item_context

CALL = TraceContext(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="vendor=1")
TRACED = dataclasses.replace(JOB, trace=CALL, epoch=JOB.epoch, attempt=2, request_id="req_1")


@dataclasses.dataclass
class Scene:
    """A job, everything around it, and who hears its spans."""

    record: Record
    bucket: Bucket
    camera: Camera
    collector: Collector
    place: Workplace

    def run(self) -> list[Told]:
        run_job(JOB.id, place=self.place)
        self.place.traces.close()
        return sorted(self.collector.spans, key=lambda span: span.begin)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


@pytest.fixture
def traces(collector: Collector) -> Iterator[Traces]:
    made = make_traces(JobsSettings(traces=True), component="worker", instance="w")
    yield made
    made.close()


@pytest.fixture
def scene(collector: Collector, traces: Traces) -> Iterator[Scene]:
    record, bucket, camera, clock = Record(), Bucket(), Camera(), FakeClock()
    record.claimable = TRACED
    lane = Lane(floor_s=60, first_s=60)
    place = Workplace(
        store=record,
        blobs=bucket,
        engine=camera,
        lane=lane,
        worker="w",
        bucket="out",
        lease_s=10.0,
        max_bytes=1000,
        stage_budget_s=60,
        clock=clock,
        sleep=clock.sleep,
        traces=traces,
    )
    yield Scene(record, bucket, camera, collector, place)
    lane.stop(timeout_s=5)


def _attempt(spans: list[Told]) -> Told:
    return next(span for span in spans if span.name == "process restore.interactive")


def _raising(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_an_attempt_is_a_child_of_the_call_and_its_stages_are_its_own(scene: Scene) -> None:
    spans = scene.run()
    attempt = _attempt(spans)
    assert (attempt.trace_id, attempt.parent_id) == (CALL.trace_id, "00f067aa0ba902b7")
    assert attempt.facts["photomend.outcome"] == "succeeded"
    assert attempt.facts["photomend.request.id"] == "req_1"
    assert [(s.name, s.parent_id) for s in spans if s is not attempt] == [
        (name, attempt.span_id) for name in ("claim", "fetch", "decode", "encode", "store", "commit")
    ]
    assert not any(span.is_error for span in spans)
    assert JOB.input.key not in str(spans)


def test_nothing_is_told_where_nobody_listens(scene: Scene) -> None:
    scene.place = dataclasses.replace(scene.place, traces=UNTRACED)
    assert scene.run() == []


def _broken(scene: Scene) -> None:
    scene.camera.between = _raising(TruncatedImage("byte 3"))


def _denied(scene: Scene) -> None:
    scene.bucket.get_trouble = ObjectDenied("s3://in/a/secret-name: no")


def _storage_down(scene: Scene) -> None:
    scene.bucket.get_trouble = StorageUnavailable("http://user:secret-name@s3")


def _bug(scene: Scene) -> None:
    scene.camera.between = _raising(ZeroDivisionError("of secret-name"))


@pytest.mark.parametrize(
    ("spoil", "outcome", "code", "stage"),
    [
        (_broken, "failed", "image_truncated", "decode"),
        (_denied, "failed", "input_denied", "fetch"),
        (_storage_down, "outage", "StorageUnavailable", "fetch"),
        (_bug, "failed", "internal", "decode"),
    ],
)
def test_a_failure_is_told_by_its_code_at_the_stage_where_it_struck(
    scene: Scene, spoil: Callable[[Scene], None], outcome: str, code: str, stage: str
) -> None:
    spoil(scene)
    spans = scene.run()
    attempt = _attempt(spans)
    assert (attempt.facts["photomend.outcome"], attempt.facts["error.type"]) == (outcome, code)
    assert {span.name: span.facts["error.type"] for span in spans if span.is_error} == {attempt.name: code, stage: code}
    assert b"secret-name" not in b"".join(scene.collector.bodies)


@pytest.mark.parametrize(
    ("says", "outcome", "stop", "code"),
    [
        (Beat.CANCEL, "canceled", "cancel", None),
        (Beat.DEADLINE, "failed", "deadline", "deadline_exceeded"),
        (Beat.FENCED, "lost", "fenced", None),
    ],
)
def test_a_job_that_is_stopped_says_why(scene: Scene, says: Beat, outcome: str, stop: str, code: str | None) -> None:
    scene.record.beat_says = says
    flights = scene.place.flights
    scene.camera.between = lambda: [flight.lease.beat() for flight in flights.all()]
    facts = _attempt(scene.run()).facts
    assert (facts["photomend.outcome"], facts["photomend.stop"], facts.get("error.type")) == (outcome, stop, code)


def test_deaths_under_earlier_attempts_are_events_of_this_one(scene: Scene) -> None:
    death = Death(cause="SIGSEGV", at=1_700_000_000.0, attempt=1, worker="gone", is_alone=True, stage="restore")
    scene.record.claimable = dataclasses.replace(TRACED, deaths=(death,))
    told = {"photomend.cause": "SIGSEGV", "photomend.attempt": 1, "photomend.stage": "restore"}
    assert _attempt(scene.run()).events == (("worker process died", told),)


def test_the_first_claim_tells_how_long_the_job_waited(traces: Traces, collector: Collector) -> None:
    from worker.spans import Attempt

    for epoch in (1, 2):
        job = dataclasses.replace(TRACED, epoch=epoch, created_at=1000.0, started_at=1060.5)
        Attempt(traces, job, worker="w").span.end()
    # Of a clock that was set back.
    Attempt(traces, dataclasses.replace(TRACED, epoch=1, created_at=1000.0, started_at=999.0)).span.end()
    traces.close()
    waits = [span for span in collector.spans if span.name == "wait restore.interactive"]
    assert [span.end - span.begin for span in waits] == [60.5, 0.0]
    assert {span.parent_id for span in waits} == {"00f067aa0ba902b7"}


def _delivery(**words: Any) -> Delivery:
    delivery = Delivery(
        id="msg_1",
        job_id=JOB.id,
        tenant=LOCAL_TENANT,
        event=CallbackEvent.COMPLETED,
        url="https://user:word@hooks.example.com:8443/secret-path?token=secret",
        body="{}",
        attempt=3,
        happened_at=1.0,
        trace=CALL,
    )
    return dataclasses.replace(delivery, **words)


def test_a_delivery_tells_the_receivers_host_alone(traces: Traces, collector: Collector) -> None:
    delivery_span(traces, _delivery()).end()
    delivery_span(traces, _delivery(trace=None, event=BatchEvent.COMPLETED)).end()
    traces.close()
    first, second = collector.spans
    assert (first.facts["server.address"], first.facts["photomend.attempt"]) == ("hooks.example.com", 3)
    assert first.trace_id == CALL.trace_id
    assert second.trace_id != CALL.trace_id
    for word in (b"secret", b"word", b"user"):
        assert word not in b"".join(collector.bodies)
    assert delivery_span(UNTRACED, _delivery()).context is None


def test_items_of_a_batch_begin_traces_of_their_own_linked_to_its_call(traces: Traces, collector: Collector) -> None:
    spec = BatchSpec(
        source=Prefix(bucket="scans", prefix="in/"), output=ObjectRef(bucket="out", key="delivery/"), trace=CALL
    )
    assert BatchSpec.from_json(json.loads(spec.to_json())) == spec
    assert "trace" not in dataclasses.replace(spec, trace=None).to_json()
    batch = Batch(
        id=BatchId("batch_" + "0" * 32), tenant=LOCAL_TENANT, spec=spec, state=BatchState.RUNNING, created_at=1.0
    )
    made = [item_context(traces, batch, job_id(batch.id, 1, item), item) for item in range(2)]
    traces.close()
    assert spec.priority is Priority.BATCH
    assert [span.name for span in collector.spans] == ["create restore.batch"] * 2
    assert [span.links for span in collector.spans] == [((CALL.trace_id, "00f067aa0ba902b7"),)] * 2
    assert [one.traceparent[:-3] for one in made if one] == [span.traceparent for span in collector.spans]
    assert len({CALL.trace_id, *(span.trace_id for span in collector.spans)}) == 3
    assert item_context(UNTRACED, batch, job_id(batch.id, 1, 0), 0) is None


def test_a_job_of_a_batch_waits_in_its_own_queue(traces: Traces, collector: Collector) -> None:
    from worker.spans import Attempt

    job: Job = dataclasses.replace(TRACED, priority=Priority.BATCH, batch="batch_1")
    Attempt(traces, job, worker="w").span.end()
    traces.close()
    (attempt,) = [span for span in collector.spans if span.name == "process restore.batch"]
    assert attempt.facts["photomend.batch.id"] == "batch_1"
