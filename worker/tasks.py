"""The one task: an id in, nothing out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.model import JobId, is_job_id
from jobs.queue import TASK

if TYPE_CHECKING:
    from celery import Celery

    from worker.node import Node


def register(app: Celery, node: Node) -> None:
    """Make ``node`` do what messages ask for. The message is acknowledged before it runs: only the record counts."""

    # **_: a newer sender may say more than we know.
    @app.task(name=TASK, ignore_result=True, acks_late=False)  # type: ignore[untyped-decorator]
    def restore(job_id: str, **_: Any) -> None:
        if is_job_id(job_id):
            node.run(JobId(job_id))
