"""Celery as the way in which a worker hears of a job: the message is an id and nothing else.

It may be lost, doubled, delayed or forged: only the record grants a claim, and an unclaimed job is sent again. So
acks are early, Celery retries nothing, and there is no result backend.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.errors import StoreUnavailable
from jobs.model import JobId, Priority
from jobs.settings import JobsSettings

#: The one task. The name never changes: workers of another version discard names that they do not know.
TASK = "photomend.restore"

QUEUES: dict[Priority, str] = {Priority.INTERACTIVE: "restore.interactive", Priority.BATCH: "restore.batch"}
#: Suspects have none: a message goes to whoever is free, and they must run where nothing else does.
ALL_QUEUES = tuple(QUEUES.values())

#: Longer than any job: an ack that never came must not hand a message to a second worker meanwhile.
VISIBILITY_TIMEOUT_S = 3600
#: Own keys in Redis, for an ACL of Celery's user.
KEY_PREFIX = "photomend:"


def make_celery(settings: JobsSettings) -> Celery:
    """A Celery app for submitters and workers. No task is registered here; nothing is sent yet."""
    app = Celery("photomend", set_as_current=False)
    app.conf.update(_settings(settings))
    return app


class Sender:
    """Sends job ids. Safe to share between threads."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def send(self, job_id: JobId, queue: str) -> None:
        """Tell the workers of a queue that there is a job.

        Raises:
            StoreUnavailable: the broker did not take it. The job is not lost: it is sent again later.
        """
        try:
            self._celery.send_task(TASK, args=(job_id,), queue=queue, ignore_result=True)
        except (OperationalError, RedisError, OSError) as err:
            raise StoreUnavailable(f"broker: {err}") from err

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue; those that a worker has fetched are not among them.

        Raises:
            StoreUnavailable: the broker did not answer.
        """
        try:
            with self._celery.connection_for_write() as connection:
                return int(connection.default_channel.client.llen(queue))
        except (OperationalError, RedisError, OSError) as err:
            raise StoreUnavailable(f"broker: {err}") from err


def _settings(settings: JobsSettings) -> dict[str, Any]:
    # kombu says that it is typed, and is not.
    exchange: Any = Exchange("photomend", type="direct")  # type: ignore[no-untyped-call]
    queues = [Queue(name, exchange, routing_key=name) for name in ALL_QUEUES]  # type: ignore[no-untyped-call]
    return {
        "broker_url": settings.broker_url or settings.redis_url,
        "result_backend": None,
        "task_ignore_result": True,
        # Nothing but JSON, in either direction.
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Known queues only, so that a typing error or an intruder opens none.
        "task_queues": queues,
        "task_default_queue": QUEUES[Priority.BATCH],
        "task_default_exchange": exchange.name,
        "task_default_routing_key": QUEUES[Priority.BATCH],
        "task_create_missing_queues": False,
        # The store sends unclaimed jobs again and counts attempts; Celery must do neither.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_annotations": {TASK: {"max_retries": 0}},
        "task_track_started": False,
        "task_publish_retry": True,
        "task_publish_retry_policy": {
            "max_retries": 3,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 1,
        },
        # No message waits behind a busy worker.
        "worker_pool": "threads",
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # A job that runs when the broker goes away runs on: its lease is in the store. The default changes in Celery 6.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_eta_task_limit": 1000,
        "worker_deduplicate_successful_tasks": False,
        # Remote control is a remote shutdown for whoever reaches Redis.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": True,
        "worker_redirect_stdouts_level": "WARNING",
        # Redis out of memory or gone for an hour: wait, never exit.
        "broker_channel_error_retry": True,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "global_keyprefix": KEY_PREFIX,
            "priority_steps": [0],
            # kombu's default is to wait for ever on a dead socket.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": True,
            "client_name": "photomend-celery",
        },
    }
