"""Delivering callbacks from the outbox: at least once each, by the Standard Webhooks scheme and schedule."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from typing import Protocol

import structlog

from jobs.callbacks import retry_in_s
from jobs.logs import about
from jobs.outbound import Answer, NotReached
from jobs.store import Delivery
from jobs.traces import UNTRACED, Span, Traces, spanning
from worker.endpoints import Endpoints, Hold, Shut
from worker.keeper_meter import HELD, KeeperMeter
from worker.spans import delivery_span

logger = structlog.get_logger(__name__)

#: A delivery that was begun and not settled is offered again after its time-out and this (seconds).
LEASE_MARGIN_S = 15.0

GONE = 410
#: Answers whose Retry-After is meant for everything that goes to the receiver.
THROTTLES = frozenset({429, 503})

#: Deliveries that are put off are passed over in one step, at most so many times the threads; the rest waits a moment.
ROUNDS = 25


class Outbox(Protocol):
    """The part of the job store that the sender needs."""

    def due_callbacks(self, *, limit: int, lease_s: float) -> tuple[Delivery, ...]: ...
    def callback_delivered(self, delivery_id: str) -> None: ...
    def callback_failed(self, delivery_id: str, *, retry_in_s: float | None, error: str) -> None: ...
    def callback_held(self, delivery_id: str, *, for_s: float) -> None: ...
    def callback_gone(self, delivery_id: str, *, error: str) -> None: ...


class Posts(Protocol):
    """What carries a delivery to its receiver."""

    def post(self, url: str, *, body: str, headers: Mapping[str, str]) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Not delivered; ``in_s`` None: given up."""

    in_s: float | None
    error: str
    is_gone: bool = False  #: nothing else is wanted either


def next_step(answer: Answer | NotReached, *, attempt: int, schedule_s: Sequence[float], now: float) -> Retry | None:
    """What follows from the ``attempt``-th answer (from 1): None = delivered.

    ``now``: seconds since the epoch, for a Retry-After that names a date.
    """
    if isinstance(answer, NotReached):
        return Retry(in_s=retry_in_s(attempt, schedule_s=schedule_s), error=str(answer))
    if 200 <= answer.status < 300:
        return None
    if answer.status == GONE:
        return Retry(in_s=None, error="HTTP 410: the receiver wants no more", is_gone=True)
    asked_s = retry_after_s(answer.retry_after, now=now)
    wait_s = retry_in_s(attempt, retry_after_s=asked_s, schedule_s=schedule_s)
    return Retry(in_s=wait_s, error=f"HTTP {answer.status}")


def retry_after_s(header: str | None, *, now: float) -> float:
    """Seconds that a Retry-After header asks for, in either of its forms; 0 for nonsense."""
    if header is None:
        return 0.0
    try:
        asked = float(header) if header.strip().isdigit() else _date(header) - now
    except (ValueError, TypeError):
        return 0.0
    return max(asked, 0.0)


def _date(header: str) -> float:
    date = email.utils.parsedate_to_datetime(header)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


class CallbackSender:
    """Takes due deliveries from the outbox and sends them, several at a time."""

    def __init__(
        self,
        outbox: Outbox,
        posts: Posts,
        *,
        sign: Callable[[Delivery, float], Mapping[str, str]],
        schedule_s: Sequence[float],
        timeout_s: float,
        threads: int,
        endpoints: Endpoints,
        meter: KeeperMeter | None = None,
        traces: Traces = UNTRACED,
    ) -> None:
        """``sign(delivery, now)`` gives the headers that prove who sent it."""
        self._traces = traces
        self._outbox = outbox
        self._posts = posts
        self._sign = sign
        self._schedule_s = tuple(schedule_s)
        self._lease_s = timeout_s + LEASE_MARGIN_S
        self._threads = threads
        self._endpoints = endpoints
        self._meter = meter or KeeperMeter()
        self._busy = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="callback")

    def step(self) -> int:
        """Begin the deliveries that are due, as far as threads are free; how many."""
        begun = 0
        for _ in range(ROUNDS):
            free = self._threads - self._busy
            if free <= 0:
                break
            due = self._outbox.due_callbacks(limit=free, lease_s=self._lease_s)
            started = sum(self._begin(delivery) for delivery in due)
            begun += started
            if len(due) < free or started == len(due):
                break
        return begun

    def close(self) -> None:
        """Wait for the deliveries that have begun."""
        self._pool.shutdown(wait=True)

    def _begin(self, delivery: Delivery) -> bool:
        """Whether it goes out now; else it has been put off."""
        answer = self._endpoints.enter(delivery.url)
        if isinstance(answer, Hold):
            self._outbox.callback_held(delivery.id, for_s=answer.for_s)
            self._meter.attempted(HELD)
            return False
        if isinstance(answer, Shut):
            self._settle(delivery, NotReached("not tried: the receiver did not answer the last deliveries"))
            return False
        with self._lock:
            self._busy += 1
        self._pool.submit(self._deliver, delivery)
        return True

    def _deliver(self, delivery: Delivery) -> None:
        began_at = time.monotonic()
        answer: Answer | NotReached | None = None
        try:
            with spanning(delivery_span(self._traces, delivery)) as span:
                answer = self._send(delivery, span)
                self._settle(delivery, answer)
        # A border: whatever is wrong with one delivery, it stays in the outbox and comes again after its lease.
        except Exception:
            logger.exception("callback not settled", delivery=delivery.id)
        finally:
            asked = answer.retry_after if isinstance(answer, Answer) and answer.status in THROTTLES else None
            self._endpoints.leave(
                delivery.url,
                took_s=time.monotonic() - began_at,
                answered=isinstance(answer, Answer),
                quiet_s=retry_after_s(asked, now=time.time()),
            )
            with self._lock:
                self._busy -= 1

    def _send(self, delivery: Delivery, span: Span) -> Answer | NotReached:
        headers = {**self._sign(delivery, time.time()), **(span.context.headers if span.context else {})}
        try:
            answer = self._posts.post(delivery.url, body=delivery.body, headers=headers)
        except NotReached as error:
            span.failed("not_reached")
            return error
        span.note({"http.response.status_code": answer.status})
        if not 200 <= answer.status < 300:
            span.failed(str(answer.status))
        return answer

    def _settle(self, delivery: Delivery, answer: Answer | NotReached) -> None:
        with about(delivery.job_id, tenant=delivery.tenant, request_id=delivery.request_id):
            self._settle_told(delivery, answer)

    def _settle_told(self, delivery: Delivery, answer: Answer | NotReached) -> None:
        log = logger.bind(delivery=delivery.id, attempt=delivery.attempt)
        retry = next_step(answer, attempt=delivery.attempt, schedule_s=self._schedule_s, now=time.time())
        if retry is None:
            # At least once: a crash before this line sends it again, and the receiver knows it by its id.
            self._outbox.callback_delivered(delivery.id)
            self._meter.delivered(time.time() - delivery.happened_at)
            log.info("callback delivered", callback=delivery.event.value)
            return
        if retry.is_gone:
            self._outbox.callback_gone(delivery.id, error=retry.error)
        else:
            self._outbox.callback_failed(delivery.id, retry_in_s=retry.in_s, error=retry.error)
        self._meter.attempted("gone" if retry.is_gone else "gave_up" if retry.in_s is None else "retry")
        if retry.in_s is None:
            log.error("callback given up", error=retry.error)
        else:
            log.warning("callback failed, trying again", error=retry.error, wait_s=round(retry.in_s, 1))
