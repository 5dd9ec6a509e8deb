"""What a worker and a keeper tell of their work as spans, by OpenTelemetry's conventions for messaging and HTTP.

A job is one message that is worked on by itself, so its attempts are children of the call that submitted it, however
long it waited: the conventions ask for a link to what made a message, and let it be the parent where one message is
processed alone, which is what puts a job from call to callback into one trace, second attempts too. Items of batches
are not children of their batch's call, a trace of a million: each begins a trace of its own with a link to that call.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from jobs.batches.model import Batch
from jobs.model import Job, JobId, Result
from jobs.outbox import Delivery
from jobs.queue import QUEUES
from jobs.trace_context import TraceContext
from jobs.traces import NO_SPAN, UNTRACED, Facts, Span, SpanKind, Traces

#: Stages before and after those that progress tells of.
CLAIM, COMMIT = "claim", "commit"


class Attempt:
    """One attempt at a job, and what it is at. Of one thread, the job's."""

    def __init__(self, traces: Traces, job: Job | None = None, *, worker: str = "", claimed_s: float = 0.0) -> None:
        """``claimed_s``: how long ago the claim was sent. Without a job nothing is told."""
        self._traces = traces
        self._stage, self._stage_span = "", NO_SPAN
        self.span = NO_SPAN
        if job is None or traces is UNTRACED:
            return
        self._facts: Facts = _of_attempt(job, worker)
        now = time.time()
        self._tell_wait(job)
        facts = {**self._facts, "messaging.operation.type": "process", "messaging.operation.name": "process"}
        self.span = traces.begin(
            f"process {QUEUES[job.priority]}",
            kind=SpanKind.CONSUMER,
            parent=job.trace,
            facts=facts,
            at=now - claimed_s,
        )
        self._begin(CLAIM, at=now - claimed_s)
        self._end_stage()
        for death in job.deaths:
            # What an attempt that died could not tell itself.
            died: Facts = {
                "photomend.cause": death.cause,
                "photomend.attempt": death.attempt,
                "photomend.stage": death.stage,
            }
            self.span.event("worker process died", died, at=death.at)

    def at(self, stage: str, fraction: float) -> None:
        """The stage has got so far; another one before it is over."""
        if self.span is NO_SPAN:
            return
        if stage != self._stage:
            self._end_stage()
            self._begin(stage)
        if fraction >= 1:
            self._end_stage()

    def made(self, result: Result, device_s: float) -> None:
        """What came of it."""
        if self.span is NO_SPAN:
            return
        words = {f"photomend.{name}": result.model.get(name) for name in ("engine", "precision")}
        self.span.note(
            {name: str(value) for name, value in words.items() if value is not None}
            | {
                "photomend.model": str(result.model.get("name", "")),
                "photomend.faces": len(result.faces),
                "photomend.megapixels": result.metrics.get("megapixels"),
                "photomend.device_s": round(device_s, 4),
            }
        )

    def failed(self, code: str) -> None:
        """It went wrong, in the stage that it was at."""
        self._stage_span.failed(code)
        self.span.failed(code)

    def ended(self, outcome: str) -> None:
        """How; the span itself is ended by whoever works in it."""
        self._end_stage()
        self.span.note({"photomend.outcome": outcome})

    def _tell_wait(self, job: Job) -> None:
        """From submit to the first claim; how long later attempts waited is written nowhere."""
        if job.epoch == 1 and job.started_at is not None:
            name = f"wait {QUEUES[job.priority]}"
            span = self._traces.begin(name, parent=job.trace, facts=self._facts, at=job.created_at)
            span.end(at=max(job.created_at, job.started_at))

    def _begin(self, stage: str, *, at: float | None = None) -> None:
        # Its attempt is told here too: that of a process that dies is never sent.
        facts = {name: self._facts[name] for name in ("photomend.job.id", "photomend.attempt")}
        self._stage = stage
        self._stage_span = self._traces.begin(stage, parent=self.span.context, facts=facts, at=at)

    def _end_stage(self) -> None:
        self._stage_span.end()
        self._stage, self._stage_span = "", NO_SPAN


def _of_attempt(job: Job, worker: str) -> Facts:
    return {
        "messaging.system": "celery",
        "messaging.destination.name": QUEUES[job.priority],
        "messaging.message.id": job.id,
        "photomend.job.id": job.id,
        "photomend.tenant": job.tenant,
        "photomend.kind": str(job.kind),
        "photomend.batch.id": job.batch,
        "photomend.attempt": job.attempt,
        "photomend.epoch": job.epoch,
        "photomend.worker": worker,
        "photomend.request.id": job.request_id,
    }


def delivery_span(traces: Traces, delivery: Delivery) -> Span:
    """Of one attempt to deliver a callback. Of its URL the host alone: paths and queries of webhooks hold tokens."""
    if traces is UNTRACED:
        return NO_SPAN
    return traces.begin(
        "deliver callback",
        kind=SpanKind.CLIENT,
        parent=delivery.trace,
        facts={
            "http.request.method": "POST",
            "server.address": urlsplit(delivery.url).hostname,
            "photomend.callback.id": delivery.id,
            "photomend.callback.event": str(delivery.event),
            "photomend.attempt": delivery.attempt,
            "photomend.job.id": delivery.job_id,
            "photomend.tenant": delivery.tenant,
            "photomend.request.id": delivery.request_id,
        },
    )


def item_context(traces: Traces, batch: Batch, job_id: JobId, item: int) -> TraceContext | None:
    """The trace of a batch's item, which begins here."""
    if traces is UNTRACED:
        return None
    span = traces.begin(
        f"create {QUEUES[batch.spec.priority]}",
        kind=SpanKind.PRODUCER,
        links=() if batch.spec.trace is None else (batch.spec.trace,),
        facts={
            "messaging.system": "celery",
            "messaging.operation.type": "create",
            "messaging.operation.name": "create",
            "messaging.destination.name": QUEUES[batch.spec.priority],
            "messaging.message.id": job_id,
            "photomend.job.id": job_id,
            "photomend.batch.id": batch.id,
            "photomend.item": item,
            "photomend.tenant": batch.tenant,
        },
    )
    span.end()
    return span.context
