"""Celery's loop is told when it may fetch again: it asks before it waits, and else would wait for its next timer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.thread import TaskPool
from kombu.asynchronous import Hub

from worker.consumer import gate


class Node:
    """Takes jobs or not, and tells."""

    def __init__(self) -> None:
        self.takes_jobs = True
        self.tell: Any = None

    def on_news(self, tell: Any) -> None:
        self.tell = tell


class Loop:
    """A hub that waits for an event that does not come, as Celery's does when all threads are busy."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.rounds = threading.Semaphore(0)
        self.hub.on_tick.add(self.rounds.release)
        # Its only timer: without being woken the loop waits for all of this.
        self.hub.call_later(300.0, lambda: None)
        self._thread = threading.Thread(target=self.hub.run_forever, daemon=True)
        self._thread.start()
        assert self.went_round()

    def went_round(self, within_s: float = 20.0) -> bool:
        return self.rounds.acquire(timeout=within_s)

    def close(self) -> None:
        self.hub.stop()
        self._thread.join(20.0)
        self.hub.close()


@pytest.fixture
def consumer() -> Any:
    loop, pool = Loop(), TaskPool(limit=1)
    qos = SimpleNamespace(can_consume=lambda: True)
    channel = SimpleNamespace(qos=qos)
    yield SimpleNamespace(hub=loop.hub, loop=loop, pool=pool, task_consumer=SimpleNamespace(channel=channel))
    loop.close()
    pool.on_stop()


def opened(node: Node, consumer: Any) -> Any:
    """The consumer with the gate in it."""
    gate(node)(consumer).start(consumer)  # type: ignore[arg-type]
    return consumer.task_consumer.channel.qos


def test_messages_are_fetched_while_both_the_node_and_celery_would(consumer: Any) -> None:
    node = Node()
    qos = opened(node, consumer)
    assert qos.can_consume()
    node.takes_jobs = False
    assert not qos.can_consume()


def test_celery_looks_again_when_one_of_its_threads_is_done_and_counted(consumer: Any) -> None:
    opened(Node(), consumer)
    # A new connection to the broker opens it once more, on the same pool.
    opened(Node(), consumer)
    counted: list[str] = []
    go = threading.Event()
    result = consumer.pool.on_apply(lambda: go.wait(20.0), (), {}, callback=lambda _: counted.append("done"))
    assert not consumer.loop.went_round(within_s=0.05), "nothing has happened"
    go.set()
    assert consumer.loop.went_round()
    assert counted == ["done"], "what Celery does at the end of a task comes first"
    result.wait(20.0)
    assert not consumer.loop.went_round(within_s=0.05), "once for each"


def test_celery_looks_again_when_the_node_has_news(consumer: Any) -> None:
    node = Node()
    opened(node, consumer)
    node.tell()
    assert consumer.loop.went_round()
