"""Spans, if anybody wants them: the port that API, keeper and worker tell their work to, and its empty side.

OpenTelemetry is imported only where ``PHOTOMEND_TRACES`` asks for it (``jobs.otel``); otherwise every call here ends at
an object that does nothing. A span says ids, numbers, codes and names of models: never a URL's path or query, an
object's key, a header or a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from typing import Protocol

import structlog

from jobs.errors import NotSetUp
from jobs.settings import JobsSettings
from jobs.trace_context import TraceContext, in_trace

Value = str | int | float | bool
#: Values by name; those that are None are left out.
Facts = Mapping[str, Value | None]

#: How long a process that leaves may take to send its last spans (seconds): within every grace that it has.
FLUSH_S = 1.5
MISSING = "PHOTOMEND_TRACES=1 needs OpenTelemetry, which is not installed: pip install 'photomend[otel]', or unset it"


class SpanKind(StrEnum):
    """How a span stands to others; OpenTelemetry's own kinds."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """Something that takes time. Safe from several threads."""

    @property
    def context(self) -> TraceContext | None:
        """Its place, for what follows from it; None where nothing is traced."""

    def note(self, facts: Facts, *, name: str | None = None) -> None:
        """Say more of it; and what it is called, where that was not known before."""

    def event(self, name: str, facts: Facts, *, at: float | None = None) -> None:
        """Something happened in it; ``at``: seconds since the epoch, None = now."""

    def failed(self, code: str) -> None:
        """It went wrong; ``code`` is one of few."""

    def end(self, *, at: float | None = None) -> None:
        """It is over; only now it is sent."""


class Traces(Protocol):
    """Where spans go."""

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
        """A span that has begun, ``at`` seconds since the epoch or now. Without a parent it begins a trace."""

    def heard(self, traceparent: Sequence[str], tracestate: Sequence[str]) -> TraceContext | None:
        """What a caller's headers say; None where they say nothing, or not what the standard allows."""

    def close(self, *, timeout_s: float = FLUSH_S) -> None:
        """Send what is left; what was not sent by then is lost."""


class _NoSpan:
    context: TraceContext | None = None

    def note(self, facts: Facts, *, name: str | None = None) -> None:
        pass

    def event(self, name: str, facts: Facts, *, at: float | None = None) -> None:
        pass

    def failed(self, code: str) -> None:
        pass

    def end(self, *, at: float | None = None) -> None:
        pass


class _Untraced:
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
        del name, kind, parent, links, facts, at
        return NO_SPAN

    def heard(self, traceparent: Sequence[str], tracestate: Sequence[str]) -> TraceContext | None:
        del traceparent, tracestate
        return None

    def close(self, *, timeout_s: float = FLUSH_S) -> None:
        pass


#: What is told to nobody.
NO_SPAN: Span = _NoSpan()
UNTRACED: Traces = _Untraced()


def require_tracer(settings: JobsSettings) -> None:
    """Make sure that what the settings ask for is installed.

    Raises:
        NotSetUp: traces are wanted and OpenTelemetry is not there.
    """
    if settings.traces and not _is_installed():
        raise NotSetUp(MISSING)


def make_traces(settings: JobsSettings, *, component: str, instance: str | None = None) -> Traces:
    """Where this process' spans go. Its thread begins here: no process may be forked from one that called this.

    Args:
        settings: whether there are any.
        component: ``api``, ``keeper`` or ``worker``; ``OTEL_SERVICE_NAME`` overrides the name made of it.
        instance: what this process is called among its like; None = by machine and number.

    Raises:
        NotSetUp: see ``require_tracer``.
    """
    if not settings.traces:
        return UNTRACED
    require_tracer(settings)
    from jobs.otel import Sent  # noqa: PLC0415  (of the `otel` extra)

    return Sent(component, instance)


def collector_answers(settings: JobsSettings) -> bool:
    """Whether spans would arrive, tried without one; takes some seconds where nobody answers.

    Raises:
        NotSetUp: see ``require_tracer``.
    """
    require_tracer(settings)
    from jobs.otel import can_send  # noqa: PLC0415  (of the `otel` extra)

    return can_send()


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.sdk.trace") is not None and find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False


_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@contextmanager
def spanning(span: Span) -> Iterator[Span]:
    """Inside, log lines name the trace and new jobs belong to it; the span ends with the block, failed if that raised.

    Whoever has an error of its own to tell says so with ``failed`` before it raises: the first word counts.
    """
    if span.context is None:
        yield span
        return
    with in_trace(span.context), structlog.contextvars.bound_contextvars(trace_id=span.context.trace_id):
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise
        finally:
            span.end()
