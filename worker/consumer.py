"""A Celery app with the one task, around one node: what a worker process is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery, signals

from jobs import logs
from jobs.blobs import BlobStore
from jobs.queue import make_celery
from jobs.store import JobStore
from worker import tasks
from worker.engine import Engine
from worker.node import Node
from worker.settings import WorkerSettings

#: Loggers whose INFO lines repeat, for every message and picture, what our own say better.
CHATTY = ("celery.worker.strategy", "celery.app.trace", "pyvips")


def create_app(settings: WorkerSettings, *, build_engine: Callable[[], Engine]) -> Celery:
    """The app that ``celery worker`` runs. Nothing is opened or loaded before Celery consumes."""
    app = make_celery(settings)
    node = Node(
        settings, store=JobStore.connect(settings), blobs=BlobStore.connect(settings), build_engine=build_engine
    )
    tasks.register(app, node)
    _follow(node)
    return app


def _follow(node: Node) -> None:
    """Tie the node's life to Celery's; the functions are held by Celery (weak=False), which holds the node."""

    def setup_logging(**_: Any) -> None:
        # Connected at all: keeps Celery from setting up its own.
        logs.configure(service="worker")
        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)

    def ready(**_: Any) -> None:
        node.start()

    def shutting_down(**_: Any) -> None:
        node.drain()

    def shut_down(**_: Any) -> None:
        node.stop()

    signals.setup_logging.connect(setup_logging, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.worker_shutdown.connect(shut_down, weak=False)
