"""An OpenTelemetry collector for tests: OTLP over HTTP on loopback, and what it was told."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Told:
    """One span as it arrived; ids in hexadecimal, times in seconds since the epoch."""

    name: str
    kind: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    begin: float
    end: float
    facts: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    links: tuple[tuple[str, str], ...]
    is_error: bool

    @property
    def traceparent(self) -> str:
        """As those after it say it, without the flags."""
        return f"00-{self.trace_id}-{self.span_id}"


@dataclass
class Collector:
    url: str = ""
    spans: list[Told] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)  #: as they came, to search for what must not be there

    def environment(self) -> dict[str, str]:
        """Of a process that is to tell this one, soon."""
        return {
            "PHOTOMEND_TRACES": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def of(self, trace_id: str, *, name: str | None = None) -> list[Told]:
        """The spans of a trace, in the order of their beginnings."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id and name in {None, span.name}]
        return sorted(found, key=lambda span: (span.begin, -span.end))

    def about(self, job_id: str, *, name: str) -> list[Told]:
        found = [s for s in list(self.spans) if s.facts.get("photomend.job.id") == job_id and s.name == name]
        return sorted(found, key=lambda span: span.begin)


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.bodies.append(body)
            collector.spans.extend(_read(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _read(body: bytes) -> Iterator[Told]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _facts(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _told(span, service)


def _told(span: Any, service: str) -> Told:
    return Told(
        name=span.name,
        kind=Message.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        begin=span.start_time_unix_nano / 1e9,
        end=span.end_time_unix_nano / 1e9,
        facts=_facts(span.attributes),
        events=tuple((event.name, _facts(event.attributes)) for event in span.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _facts(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
