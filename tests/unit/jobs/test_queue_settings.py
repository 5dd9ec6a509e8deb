"""Celery as the design wants it: nothing but ids, no retries of its own, nothing that exits or hangs."""

from __future__ import annotations

import pytest

from jobs.connection import is_refusal
from jobs.model import Priority
from jobs.queue import ALL_QUEUES, QUEUES, TASK, make_celery
from jobs.settings import JobsSettings


def test_each_priority_has_a_queue_and_suspects_have_none() -> None:
    assert set(QUEUES) == set(Priority)
    assert ALL_QUEUES == ("restore.interactive", "restore.batch")


def test_the_settings_that_losses_and_loops_hang_on_are_set() -> None:
    conf = make_celery(JobsSettings()).conf
    wanted = {
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_ignore_result": True,
        "accept_content": ["json"],
        "task_create_missing_queues": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_channel_error_retry": True,
        "broker_connection_max_retries": None,
        "worker_enable_remote_control": False,
        "worker_disable_prefetch": True,
    }
    assert {name: conf[name] for name in wanted} == wanted
    assert conf["result_backend"] is None
    options = conf["broker_transport_options"]
    assert options["visibility_timeout"] >= 1800
    assert options["socket_timeout"] is not None
    assert {queue.name for queue in conf["task_queues"]} == set(ALL_QUEUES)


def test_the_contract_registers_no_task() -> None:
    assert TASK not in make_celery(JobsSettings()).tasks


def test_the_broker_is_redis_unless_another_is_named() -> None:
    settings = JobsSettings(redis_url="redis://a/0")
    assert make_celery(settings).conf.broker_url == "redis://a/0"
    assert make_celery(settings.model_copy(update={"broker_url": "redis://b/1"})).conf.broker_url == "redis://b/1"


@pytest.mark.parametrize(
    "words",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "command not allowed when used memory > 'maxmemory'. script: abc, on @user_script:1.",
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Redis is configured to save RDB snapshots",
        "MASTERDOWN Link with MASTER is down",
        "NOAUTH Authentication required.",
    ],
)
def test_what_redis_says_when_it_cannot_is_told_from_our_own_mistakes(words: str) -> None:
    assert is_refusal(words)
    assert not is_refusal("ERR wrong number of arguments for 'zadd' command")
    assert not is_refusal("WRONGTYPE Operation against a key holding the wrong kind of value")
