"""How the control's Celery is set up, for its workers and for whoever sends it jobs.

As well as its documentation and our measurements know how: late acknowledgement, redelivery when a process is lost, a
visibility timeout just above the longest task, and the restore sweep every second (it is 100 s by default).
"""

from __future__ import annotations

from celery import Celery

TASK, QUEUE = "control.mend", "control"
#: Above the longest task with its time in a prefetched message; Celery's own default is an hour.
VISIBILITY_S = 10
#: Ends device work that never ends.
TIME_LIMIT_S = 8
RETRIES = 100


def make_control(redis_url: str) -> Celery:
    app = Celery("control", set_as_current=False)
    app.conf.update(
        broker_url=redis_url,
        result_backend=None,
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=TIME_LIMIT_S,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_send_task_events=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app
