"""A Celery app with the one task, around one node: what a worker process is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, bootsteps, signals
from celery.concurrency.thread import TaskPool
from celery.worker.consumer.tasks import Tasks

from jobs import logs
from jobs.blobs import BlobStore
from jobs.metrics import instruments
from jobs.queue import make_celery
from jobs.signing import require_secret
from jobs.store import JobStore
from jobs.traces import make_traces
from worker import tasks
from worker.engine import Engine
from worker.meter import Meter
from worker.node import Device, Node
from worker.settings import WorkerSettings

#: Loggers whose INFO lines repeat, for every message and picture, what our own say better.
CHATTY = ("celery.worker.strategy", "celery.app.trace", "pyvips")


def create_app(settings: WorkerSettings, *, build_engine: Callable[[], Engine], device: Device | None = None) -> Celery:
    """The app that ``celery worker`` runs. Nothing is opened or loaded before Celery consumes.

    Raises:
        NotSetUp: there is no secret to check jobs with, or traces are wanted and cannot be made.
    """
    require_secret(settings)
    store, blobs = JobStore.connect(settings), BlobStore.connect(settings)
    node = Node(
        settings,
        store=store,
        blobs=blobs,
        build_engine=build_engine,
        device=device,
        meter=_meter(settings),
        # This process is nobody's fork and forks none: jobs run in threads, and the sandbox is a program of its own.
        traces=make_traces(settings, component="worker"),
    )
    return app_around(node, settings)


def _meter(settings: WorkerSettings) -> Meter:
    """Figures that a supervisor tells; without one nobody asks for them."""
    if settings.metrics_name is None:
        return Meter()
    instruments.join(settings.metrics_name)
    return Meter(process=settings.metrics_name)


def app_around(node: Node, settings: WorkerSettings) -> Celery:
    """The same for a node that is there already."""
    app = make_celery(settings)
    tasks.register(app, node)
    app.steps["consumer"].add(gate(node))
    _follow(node)
    return app


def gate(node: Node) -> type[bootsteps.StartStopStep]:
    """A step that lets Celery fetch messages only while the node takes jobs, within Celery's own limit.

    Celery asks both before it waits, for seconds on end where nothing else happens: so it is woken up when a thread has
    become free or the node has something to say.
    """

    class Gate(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = (Tasks,)

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            may_consume = qos.can_consume
            qos.can_consume = lambda: node.takes_jobs and may_consume()
            if consumer.hub is not None and isinstance(consumer.pool, TaskPool):
                wake = partial(consumer.hub.call_soon, _look)
                node.on_news(wake)
                _tell_of_ends(consumer.pool, wake)

    return Gate


def _look() -> None:
    """Nothing by itself: the loop that runs it asks afterwards whether it may fetch."""


def _tell_of_ends(pool: TaskPool, wake: Callable[[], object]) -> None:
    """Call ``wake`` whenever one of the pool's threads is done with a message, and Celery's counts say so."""
    # Of the class: a new connection to the broker comes here again, with the same pool.
    apply: Callable[..., Any] = type(pool).on_apply

    def on_apply(*args: Any, **words: Any) -> Any:
        result = apply(pool, *args, **words)
        result.f.add_done_callback(lambda _: wake())
        return result

    pool.on_apply = on_apply


def _follow(node: Node) -> None:
    """Tie the node's life to Celery's; the functions are held by Celery (weak=False), which holds the node."""

    def setup_logging(**_: Any) -> None:
        # Connected at all: keeps Celery from setting up its own.
        logs.configure(service="worker")
        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)

    def begun(**_: Any) -> None:
        node.keep_watch()

    def ready(**_: Any) -> None:
        node.start()

    def shutting_down(**_: Any) -> None:
        node.drain()

    def shut_down(**_: Any) -> None:
        node.stop()

    signals.setup_logging.connect(setup_logging, weak=False)
    signals.worker_init.connect(begun, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.worker_shutdown.connect(shut_down, weak=False)
