"""Where in a trace something happens, as W3C Trace Context writes it: what a job's record carries from call to worker.

Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

#: Names of the two headers.
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """One span's place, in the words of the two headers. Made by ``jobs.otel`` alone, so it is well-formed."""

    traceparent: str  #: ``00-<32 hexadecimal: trace>-<16: span>-<2: flags>``
    tracestate: str = ""  #: what tracing systems before us wrote; empty = nothing

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent.split("-")[1]

    @property
    def headers(self) -> dict[str, str]:
        """As a request carries it."""
        state = {TRACESTATE: self.tracestate} if self.tracestate else {}
        return {TRACEPARENT: self.traceparent, **state}


_current: ContextVar[TraceContext | None] = ContextVar("photomend_trace", default=None)


def current_trace() -> TraceContext | None:
    """The span that is worked in here, also in threads that work for it; None where nothing is traced."""
    return _current.get()


@contextmanager
def in_trace(context: TraceContext) -> Iterator[None]:
    """Everything inside belongs to this span."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
