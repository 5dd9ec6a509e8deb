"""OpenTelemetry behind the port of ``jobs.traces``. Imported where it is asked for, and nowhere else.

Where spans go, how many and under which names is said by OpenTelemetry's own environment (``OTEL_EXPORTER_OTLP_*``,
``OTEL_TRACES_SAMPLER``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_BSP_*`` and so on). A bounded queue and one thread send
them: where the collector is slow or gone, spans are dropped and nothing waits.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Sequence
from importlib import metadata

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.trace_context import TRACEPARENT, TRACESTATE, TraceContext
from jobs.traces import FLUSH_S, Facts, Span, SpanKind

logger = structlog.get_logger(__name__)

_KINDS = {
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
    SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
}
#: Its warnings repeat what strangers put into a header.
_REPEATS_STRANGERS = "opentelemetry.trace"
_propagator = TraceContextTextMapPropagator()


class Sent:
    """Spans that go to a collector by OTLP over HTTP."""

    def __init__(self, component: str, instance: str | None = None) -> None:
        """See ``jobs.traces.make_traces``."""
        logging.getLogger(_REPEATS_STRANGERS).setLevel(logging.ERROR)
        self._provider = TracerProvider(resource=_resource(component, instance), shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("photomend", metadata.version("photomend"))

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        facts: Facts | None = None,
        at: float | None = None,
    ) -> Span:
        linked = [trace.Link(_span_context(link)) for link in links]
        span = self._tracer.start_span(
            name,
            context=_extracted(parent),
            kind=_KINDS[kind],
            attributes=_known(facts or {}),
            links=linked,
            start_time=_nanoseconds(at),
        )
        return _Sent(span)

    def heard(self, traceparent: Sequence[str], tracestate: Sequence[str]) -> TraceContext | None:
        # Two of the first are none: nobody knows which one is meant.
        if len(traceparent) != 1:
            return None
        words = {TRACEPARENT: list(traceparent), TRACESTATE: list(tracestate)}
        return _written(trace.get_current_span(_propagator.extract(words)).get_span_context())

    def close(self, *, timeout_s: float = FLUSH_S) -> None:
        # The library would wait for half a minute where nobody answers.
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(timeout_s)
        if closing.is_alive():
            self._exporter.shutdown()
            logger.warning("last spans not sent: the collector does not answer", within_s=timeout_s)


def can_send(*, timeout_s: float = 3.0) -> bool:
    """Whether the collector takes a request, empty as it is."""
    exporter, noise = OTLPSpanExporter(timeout=timeout_s), logging.getLogger(OTLPSpanExporter.__module__)
    # The answer is told by whoever asked.
    before, noise.disabled = noise.disabled, True
    try:
        return exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        noise.disabled = before
        exporter.shutdown()


class _Sent:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._has_failed = False
        self.context = _written(span.get_span_context())

    def note(self, facts: Facts, *, name: str | None = None) -> None:
        self._span.set_attributes(_known(facts))
        if name is not None:
            self._span.update_name(name)

    def event(self, name: str, facts: Facts, *, at: float | None = None) -> None:
        self._span.add_event(name, _known(facts), _nanoseconds(at))

    def failed(self, code: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._span.set_attribute("error.type", code)
            self._span.set_status(trace.StatusCode.ERROR)

    def end(self, *, at: float | None = None) -> None:
        self._span.end(_nanoseconds(at))


def _resource(component: str, instance: str | None) -> Resource:
    ours = {
        "service.name": f"photomend-{component}",
        "service.version": metadata.version("photomend"),
        "service.instance.id": instance or f"{socket.gethostname()}:{os.getpid()}",
    }
    # The operator's words last: they win.
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _known(facts: Facts) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in facts.items() if value is not None}


def _nanoseconds(at: float | None) -> int | None:
    return None if at is None else int(at * 1e9)


def _extracted(context: TraceContext | None) -> Context:
    # Never the library's own current span: what a span belongs to is said, or it is a root.
    return _propagator.extract(context.headers if context is not None else {}, Context())


def _span_context(context: TraceContext) -> trace.SpanContext:
    return trace.get_current_span(_extracted(context)).get_span_context()


def _written(context: trace.SpanContext) -> TraceContext | None:
    if not context.is_valid:
        return None
    words: dict[str, str] = {}
    _propagator.inject(words, trace.set_span_in_context(trace.NonRecordingSpan(context), Context()))
    return TraceContext(traceparent=words[TRACEPARENT], tracestate=words.get(TRACESTATE, ""))
