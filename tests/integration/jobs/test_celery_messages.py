"""What goes over the wire to the workers: an id, as JSON, into one of three known queues."""

from __future__ import annotations

import base64
import json

import pytest
import redis

from jobs.errors import StoreUnavailable
from jobs.model import new_job_id
from jobs.queue import ALL_QUEUES, TASK, Sender, make_celery
from jobs.settings import JobsSettings
from photomend.stack.ports import free_ports

SECRETS = ("s3cret", "whsec_")


def test_a_message_carries_the_id_and_nothing_else(redis_settings: JobsSettings) -> None:
    app = make_celery(redis_settings)
    sender = Sender(app)
    ids = {queue: new_job_id() for queue in ALL_QUEUES}
    for queue, job_id in ids.items():
        assert sender.depth(queue) == 0
        sender.send(job_id, queue)
        assert sender.depth(queue) == 1
    with redis.Redis.from_url(redis_settings.redis_url, decode_responses=True) as client:
        for queue, job_id in ids.items():
            (raw,) = client.lrange(f"photomend:{queue}", 0, -1)
            message = json.loads(raw)
            assert message["content-type"] == "application/json"
            assert message["headers"]["task"] == TASK
            args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
            assert (args, kwargs) == ([job_id], {})
            assert not any(embed.values())
            assert not any(secret in raw for secret in SECRETS)
        assert all(key.startswith("photomend:") for key in client.keys("*")), "Celery's user needs no other keys"
    app.close()


def test_a_queue_that_is_not_known_is_not_opened(redis_settings: JobsSettings) -> None:
    app = make_celery(redis_settings)
    with pytest.raises(Exception, match=r"restore\.nosuch"):
        Sender(app).send(new_job_id(), "restore.nosuch")
    app.close()


def test_a_broker_that_is_gone_says_so_and_does_not_block_for_long() -> None:
    app = make_celery(JobsSettings(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0"))
    sender = Sender(app)
    with pytest.raises(StoreUnavailable):
        sender.send(new_job_id(), ALL_QUEUES[0])
    with pytest.raises(StoreUnavailable):
        sender.depth(ALL_QUEUES[0])
    app.close()


def test_the_broker_may_be_another_database(redis_settings: JobsSettings) -> None:
    other = redis_settings.redis_url.removesuffix("/0") + "/1"
    app = make_celery(redis_settings.model_copy(update={"broker_url": other}))
    Sender(app).send(new_job_id(), ALL_QUEUES[0])
    with redis.Redis.from_url(redis_settings.redis_url) as client:
        assert client.keys("*") == []
    app.close()
